//! Evolve: what an event makes of the state. Total: an event always applies, and no event is refused here.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    event::{Event, EventKind},
    id::{JobId, StageRunId, StepRunId, Token, WorkItemId},
    state::{
        Claim, Condition, Decision, Ending, Evaluation, IgnoredChange, Job, JobSpec, Overridden, Question,
        QuestionAnswer, Reassigned, SentBack, StageRun, StepLock, StepRun, Submission, Verdict, WorkItem,
    },
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
    timer::Deadlines,
};

/// The state after a whole history; `None` when it does not begin with a submission.
pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Submission> {
    let mut events = events.into_iter();
    let mut state = begin(events.next()?)?;
    for event in events {
        evolve(&mut state, event);
    }
    Some(state)
}

/// The state after the first event; `None` when it is not that of a submission.
pub fn begin(event: &Event) -> Option<Submission> {
    let EventKind::Submitted {
        tenant,
        submission,
        process,
        record,
        submitter,
        on_behalf_of,
        comment,
        choices,
        summary,
        resubmission,
        traceparent,
    } = &event.kind
    else {
        return None;
    };
    Some(Submission {
        tenant: tenant.clone(),
        id: *submission,
        version: 1,
        process: process.clone(),
        record: record.clone(),
        submitter: submitter.clone(),
        on_behalf_of: on_behalf_of.clone(),
        comment: comment.clone(),
        choices: choices.clone(),
        summary: summary.clone(),
        status: SubmissionStatus::InProgress,
        ending: None,
        round: 1,
        stage_runs: Vec::new(),
        current: None,
        failure: None,
        suspended_at: None,
        submitted_at: event.at,
        ended_at: None,
        kept: None,
        ignored_change: None,
        resubmission: resubmission.clone(),
        traceparent: traceparent.clone(),
        changes: 1,
    })
}

/// Applies a further event.
#[allow(clippy::too_many_lines, reason = "an arm for each event: it is read as a table")]
pub fn evolve(state: &mut Submission, event: &Event) {
    state.version += 1;
    state.changes += u64::from(event.kind.may_change_conditions());
    let at = event.at;
    match &event.kind {
        EventKind::Submitted { .. }
        | EventKind::Commented { .. }
        | EventKind::AssigneesLeftOut { .. }
        | EventKind::FlowEventEmitted { .. } => {}
        EventKind::RecordUpdated { record, summary, kept, .. } => {
            if let Some(resubmission) = &mut state.resubmission {
                resubmission.record_changes(&state.record.data, &record.data);
            }
            state.record.clone_from(record);
            state.summary.clone_from(summary);
            state.ignored_change = None;
            if kept.is_some() {
                state.kept.clone_from(kept);
            }
        }
        EventKind::RecordChangeIgnored { digest, reason, message, .. } => {
            state.ignored_change =
                Some(IgnoredChange { digest: digest.clone(), reason: reason.clone(), message: message.clone(), at });
        }
        EventKind::RecordLocked { step_run, allow_reviewer_edit } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.lock = Some(StepLock { allow_reviewer_edit: *allow_reviewer_edit });
            }
        }
        EventKind::StageStarted { .. }
        | EventKind::StageCompleted { .. }
        | EventKind::StageCanceled { .. }
        | EventKind::StageFailed { .. }
        | EventKind::StageDiscontinued { .. }
        | EventKind::StageRevived { .. }
        | EventKind::SentBack { .. } => evolve_stage(state, event),
        EventKind::RejectionDecided { .. } => state.ending = Some(Ending::Rejected),
        EventKind::Recalled { .. } => resume_to(state, Ending::Recalled),
        EventKind::Canceled { .. } => resume_to(state, Ending::Canceled),
        EventKind::SubmissionSuspended { .. } => {
            state.status = SubmissionStatus::Suspended;
            state.suspended_at = Some(at);
            set_current_stage(state, StageRunStatus::Suspended);
        }
        EventKind::SubmissionResumed { .. } => {
            hand_back_time(state, at);
            state.status = SubmissionStatus::InProgress;
            state.suspended_at = None;
            set_current_stage(state, StageRunStatus::InProgress);
        }
        EventKind::MovedToStage { .. } => go_on(state),
        EventKind::SubmissionMigrated { .. } => migrate(state, &event.kind),
        EventKind::SubmissionFailed { failure } => {
            state.status = SubmissionStatus::Error;
            state.failure = Some(failure.clone());
        }
        EventKind::SubmissionEnded { status } => {
            state.status = *status;
            state.current = None;
            state.failure = None;
            state.suspended_at = None;
            state.ended_at = Some(at);
        }
        EventKind::StepStarted { step_run, .. }
        | EventKind::StepRevived { step_run, .. }
        | EventKind::StepCanceled { step_run }
        | EventKind::StepDiscontinued { step_run }
        | EventKind::StepCompleted { step_run, .. }
        | EventKind::StepFailed { step_run, .. }
        | EventKind::StepOverridden { step_run, .. }
        | EventKind::StepSkipped { step_run, .. } => {
            if let Some(step) = step_mut(state, *step_run) {
                evolve_step(step, event);
            }
        }
        EventKind::DeadlinesSet { step_run, deadlines } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.deadlines = deadlines.clone();
                step.overdue = false;
                step.reminded = 0;
                step.escalated = 0;
            }
        }
        EventKind::AssigneesReminded { step_run, reminders, work_items: _ } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.reminded = *reminders;
            }
        }
        EventKind::StepEscalated { step_run, replaced, .. } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.escalated += 1;
                let replaced = |item: &&mut WorkItem| replaced.contains(&item.id);
                step.work_items.iter_mut().filter(replaced).for_each(|item| item.replaced = true);
            }
        }
        EventKind::StepExpired { step_run, outcome: _ } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.deadlines.expiry = None;
            }
        }
        EventKind::StepOverdue { step_run } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.overdue = true;
            }
        }
        EventKind::WorkItemAssigned { work_item, step_run, assignee, reason, weight, veto } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.work_items.push(WorkItem {
                    id: *work_item,
                    assignee: assignee.clone(),
                    reason: reason.clone(),
                    weight: *weight,
                    veto: *veto,
                    replaced: false,
                    status: WorkItemStatus::Assigned,
                    assigned_at: at,
                    closed_at: None,
                    decision: None,
                    claim: None,
                    reassigned: None,
                    questions: Vec::new(),
                });
            }
        }
        EventKind::WorkItemDecided { work_item, .. }
        | EventKind::WorkItemClosed { work_item, .. }
        | EventKind::WorkItemRevived { work_item }
        | EventKind::WorkItemReassigned { work_item, .. }
        | EventKind::WorkItemClaimed { work_item, .. }
        | EventKind::WorkItemReleased { work_item, .. }
        | EventKind::InformationRequested { work_item, .. }
        | EventKind::InformationAnswered { work_item, .. } => {
            if let Some(item) = work_item_mut(state, *work_item) {
                evolve_work_item(item, event);
            }
        }
        EventKind::JobScheduled { job, step_run, spec, token } => {
            if let Some(step) = step_mut(state, *step_run) {
                step.job = Some(new_job(*job, spec, token, at));
            }
        }
        EventKind::EvaluationScheduled { job, condition, spec, token } => {
            let job = new_job(*job, spec, token, at);
            let evaluation = Evaluation { job, asked_on: state.changes, met: None, answered_at: None };
            if let Some(place) = evaluation_mut(state, *condition) {
                *place = Some(Box::new(evaluation));
            }
        }
        EventKind::EvaluationCompleted { condition, met, stale, .. } => {
            if let Some(evaluation) = evaluation_mut(state, *condition).and_then(Option::as_mut) {
                evaluation.job.status = JobStatus::Completed;
                evaluation.met = (!stale).then_some(*met);
                evaluation.answered_at = Some(at);
            }
        }
        EventKind::JobStarted { job, .. }
        | EventKind::JobAttemptFailed { job, .. }
        | EventKind::JobCompleted { job, .. }
        | EventKind::JobFailed { job, .. }
        | EventKind::JobCanceled { job }
        | EventKind::JobRevived { job, .. } => {
            if let Some(job) = job_mut(state, *job) {
                evolve_job(job, event);
            }
        }
    }
}

fn evolve_stage(state: &mut Submission, event: &Event) {
    match &event.kind {
        EventKind::StageStarted {
            stage_run,
            stage,
            ending,
            round,
            submission_round,
            awaits_time,
            steps,
            because: _,
        } => {
            state.round = *submission_round;
            state.current = Some(state.stage_runs.len());
            state.stage_runs.push(StageRun {
                id: *stage_run,
                name: stage.clone(),
                ending: *ending,
                round: *round,
                status: StageRunStatus::InProgress,
                awaits_time: *awaits_time,
                failure: None,
                started_at: event.at,
                ended_at: None,
                steps: steps.iter().map(|new| new_step_run(new.step_run, &new.step, *round)).collect(),
                sent_back: None,
                exit: None,
            });
        }
        EventKind::StageCompleted { stage_run, .. } => {
            state.current = None;
            end_stage(state, *stage_run, StageRunStatus::Completed, event);
        }
        EventKind::StageCanceled { stage_run } => {
            state.current = None;
            end_stage(state, *stage_run, StageRunStatus::Canceled, event);
        }
        EventKind::StageDiscontinued { stage_run } => {
            state.current = None;
            end_stage(state, *stage_run, StageRunStatus::Discontinued, event);
        }
        EventKind::StageFailed { stage_run, failure } => {
            end_stage(state, *stage_run, StageRunStatus::Error, event);
            if let Some(stage) = stage_mut(state, *stage_run) {
                stage.failure = Some(failure.clone());
            }
        }
        EventKind::StageRevived { stage_run, by: _ } => {
            state.current = state.stage_runs.iter().position(|stage| stage.id == *stage_run);
            state.status = SubmissionStatus::InProgress;
            state.failure = None;
            if let Some(stage) = stage_mut(state, *stage_run) {
                stage.status = StageRunStatus::InProgress;
                stage.failure = None;
                stage.ended_at = None;
            }
        }
        EventKind::SentBack { stage_run, work_item: _, to, by, comment } => {
            if let Some(stage) = stage_mut(state, *stage_run) {
                stage.sent_back = Some(SentBack { to: to.clone(), by: by.clone(), comment: comment.clone() });
            }
        }
        _ => unreachable!("only events of a stage run come here"),
    }
}

/// A recall or a cancel: the submission is under way to its ending, also when it was in error before.
fn resume_to(state: &mut Submission, ending: Ending) {
    state.ending = Some(ending);
    go_on(state);
}

/// The history takes the names of another version, and the current stage has its steps.
fn migrate(state: &mut Submission, migrated: &EventKind) {
    let EventKind::SubmissionMigrated { to, stages, steps, added, awaits_time, .. } = migrated else {
        unreachable!("only a migration comes here")
    };
    let rename = |names: &BTreeMap<String, String>, name: &mut String| {
        if let Some(new) = names.get(name.as_str()) {
            name.clone_from(new);
        }
    };
    state.process = to.clone();
    // What was approved under the other version is asked again under this one.
    if let Some(resubmission) = &mut state.resubmission {
        resubmission.approvals.clear();
    }
    for stage in &mut state.stage_runs {
        // The path to an ending is called the same in every version.
        if stage.ending.is_none() {
            rename(stages, &mut stage.name);
        }
        stage.steps.iter_mut().for_each(|step| rename(steps, &mut step.name));
    }
    state.choices = renamed(steps, std::mem::take(&mut state.choices));
    if let Some(kept) = &mut state.kept {
        kept.steps = renamed(steps, std::mem::take(&mut kept.steps));
    }
    if let Some(stage) = state.current.and_then(|index| state.stage_runs.get_mut(index)) {
        stage.awaits_time = *awaits_time;
        let round = stage.round;
        stage.steps.extend(added.iter().map(|new| new_step_run(new.step_run, &new.step, round)));
    }
}

/// What is known by the names of steps, by their new names.
fn renamed<T>(names: &BTreeMap<String, String>, known: BTreeMap<String, T>) -> BTreeMap<String, T> {
    known.into_iter().map(|(name, value)| (names.get(&name).cloned().unwrap_or(name), value)).collect()
}

/// The submission is under way again, in no stage yet, also when it was in error or suspended before.
fn go_on(state: &mut Submission) {
    state.status = SubmissionStatus::InProgress;
    state.failure = None;
    state.suspended_at = None;
    state.current = None;
}

fn set_current_stage(state: &mut Submission, status: StageRunStatus) {
    if let Some(stage) = state.current.and_then(|index| state.stage_runs.get_mut(index)) {
        stage.status = status;
    }
}

/// The time for which an attempt was held is none that its job has taken.
fn hand_back_time(state: &mut Submission, resumed_at: Timestamp) {
    let Some(since) = state.suspended_at else { return };
    let held = |state: &Submission, step: &StepRun| step.job.as_ref().is_some_and(|job| state.holds(job));
    let steps = state.stage_runs.iter().flat_map(|stage| &stage.steps);
    let held: Vec<_> = steps.filter(|step| held(state, step)).map(|step| step.id).collect();
    for step_run in held {
        if let Some(job) = step_mut(state, step_run).and_then(|step| step.job.as_mut()) {
            let shifted = job.scheduled_at.checked_add(resumed_at.duration_since(since));
            job.scheduled_at = shifted.unwrap_or(Timestamp::MAX);
        }
    }
}

fn evolve_step(step: &mut StepRun, event: &Event) {
    let at = event.at;
    match &event.kind {
        EventKind::StepStarted { screen, .. } => {
            step.screen.clone_from(screen);
            step.status = StepRunStatus::InProgress;
            step.started_at = Some(at);
        }
        EventKind::StepRevived { screen, .. } => {
            if screen.is_some() {
                step.screen.clone_from(screen);
            }
            step.failure = None;
            step.ended_at = None;
            // A step that failed before it had a job or asked anybody begins again from its entry condition.
            if step.job.is_none() && step.work_items.is_empty() {
                step.status = StepRunStatus::NotStarted;
                step.started_at = None;
                step.entry = None;
            } else {
                step.status = StepRunStatus::InProgress;
            }
        }
        EventKind::StepCanceled { .. } => end_step(step, StepRunStatus::Canceled, event),
        EventKind::StepDiscontinued { .. } => end_step(step, StepRunStatus::Discontinued, event),
        EventKind::StepCompleted { outputs, settled, reused, .. } => {
            end_step(step, StepRunStatus::Completed, event);
            step.outputs = Some(outputs.clone());
            step.settled = *settled;
            step.reused.clone_from(reused);
        }
        EventKind::StepSkipped { outputs, .. } => {
            end_step(step, StepRunStatus::Completed, event);
            step.failure = None;
            step.outputs = Some(outputs.clone());
        }
        EventKind::StepFailed { failure, .. } => {
            end_step(step, StepRunStatus::Error, event);
            step.failure = Some(failure.clone());
        }
        EventKind::StepOverridden { decision, .. } => {
            step.overridden = Some(Overridden { decision: decision.clone(), at });
        }
        _ => unreachable!("only events of a step run come here"),
    }
}

fn evolve_job(job: &mut Job, event: &Event) {
    match &event.kind {
        EventKind::JobStarted { .. } => {
            job.status = JobStatus::Running;
            job.started_at = Some(event.at);
        }
        EventKind::JobAttemptFailed { attempt, next_token, next_at, stopped, .. } => {
            job.stops += u32::from(*stopped);
            job.status = JobStatus::Pending;
            job.attempt = attempt + 1;
            job.token = next_token.clone();
            job.available_at = *next_at;
            job.started_at = None;
        }
        EventKind::JobRevived { attempt, token, .. } => {
            job.status = JobStatus::Pending;
            job.attempt = *attempt;
            job.attempts_before = attempt - 1;
            job.stops = 0;
            job.token = token.clone();
            job.available_at = event.at;
            job.scheduled_at = event.at;
            job.started_at = None;
        }
        EventKind::JobCompleted { .. } => job.status = JobStatus::Completed,
        EventKind::JobFailed { .. } => job.status = JobStatus::Failed,
        EventKind::JobCanceled { .. } => job.status = JobStatus::Canceled,
        _ => unreachable!("only events of a job come here"),
    }
}

fn evolve_work_item(item: &mut WorkItem, event: &Event) {
    let at = event.at;
    match &event.kind {
        EventKind::WorkItemDecided { decision, .. } => {
            close_work_item(item, status_of(decision), event);
            item.decision = Some(decision.clone());
        }
        EventKind::WorkItemClosed { status, .. } => close_work_item(item, *status, event),
        EventKind::WorkItemRevived { .. } => {
            item.status = WorkItemStatus::Assigned;
            item.closed_at = None;
        }
        EventKind::WorkItemReassigned { from, to, by, comment, veto, .. } => {
            item.assignee = to.clone();
            item.veto = *veto;
            item.claim = None;
            item.reassigned = Some(Reassigned { from: from.clone(), by: by.clone(), comment: comment.clone() });
        }
        EventKind::WorkItemClaimed { by, until, .. } => item.claim = Some(Claim { by: by.clone(), until: *until }),
        EventKind::WorkItemReleased { .. } => item.claim = None,
        EventKind::InformationRequested { by, question, .. } => {
            item.questions.push(Question { by: by.clone(), at, text: question.clone(), answer: None });
        }
        EventKind::InformationAnswered { by, answer, .. } => {
            if let Some(question) = item.questions.last_mut() {
                question.answer = Some(QuestionAnswer { by: by.clone(), at, text: answer.clone() });
            }
        }
        _ => unreachable!("only events of a work item come here"),
    }
}

fn close_work_item(item: &mut WorkItem, status: WorkItemStatus, event: &Event) {
    item.status = status;
    item.closed_at = Some(event.at);
    item.claim = None;
}

const fn status_of(decision: &Decision) -> WorkItemStatus {
    match decision.verdict {
        Verdict::Approve => WorkItemStatus::Approved,
        Verdict::Reject => WorkItemStatus::Rejected,
        Verdict::Abstain => WorkItemStatus::Abstained,
    }
}

fn new_step_run(id: StepRunId, name: &str, round: u32) -> StepRun {
    StepRun {
        id,
        name: name.to_owned(),
        round,
        status: StepRunStatus::NotStarted,
        failure: None,
        started_at: None,
        ended_at: None,
        outputs: None,
        settled: None,
        reused: None,
        job: None,
        work_items: Vec::new(),
        deadlines: Deadlines::default(),
        lock: None,
        overdue: false,
        overridden: None,
        reminded: 0,
        escalated: 0,
        entry: None,
        exit: None,
        screen: None,
    }
}

fn new_job(id: JobId, spec: &Arc<JobSpec>, token: &Token, at: Timestamp) -> Job {
    Job {
        id,
        spec: Arc::clone(spec),
        status: JobStatus::Pending,
        attempt: 1,
        attempts_before: 0,
        stops: 0,
        token: token.clone(),
        available_at: at,
        started_at: None,
        scheduled_at: at,
    }
}

fn end_stage(state: &mut Submission, id: StageRunId, status: StageRunStatus, event: &Event) {
    if let Some(stage) = stage_mut(state, id) {
        stage.status = status;
        stage.ended_at = Some(event.at);
    }
}

fn end_step(step: &mut StepRun, status: StepRunStatus, event: &Event) {
    step.status = status;
    step.ended_at = Some(event.at);
}

fn stage_mut(state: &mut Submission, id: StageRunId) -> Option<&mut StageRun> {
    state.stage_runs.iter_mut().rev().find(|stage| stage.id == id)
}

fn step_mut(state: &mut Submission, id: StepRunId) -> Option<&mut StepRun> {
    state.stage_runs.iter_mut().rev().flat_map(|stage| &mut stage.steps).find(|step| step.id == id)
}

fn work_item_mut(state: &mut Submission, id: WorkItemId) -> Option<&mut WorkItem> {
    let steps = state.stage_runs.iter_mut().rev().flat_map(|stage| &mut stage.steps);
    steps.flat_map(|step| &mut step.work_items).find(|item| item.id == id)
}

/// Where what is known of a condition's evaluation stands.
fn evaluation_mut(state: &mut Submission, condition: Condition) -> Option<&mut Option<Box<Evaluation>>> {
    match condition {
        Condition::StageExit(stage) => stage_mut(state, stage).map(|stage| &mut stage.exit),
        Condition::StepEntry(step) => step_mut(state, step).map(|step| &mut step.entry),
        Condition::StepExit(step) => step_mut(state, step).map(|step| &mut step.exit),
    }
}

fn job_mut(state: &mut Submission, id: JobId) -> Option<&mut Job> {
    state.stage_runs.iter_mut().rev().find_map(|stage| {
        let exit = stage.exit.iter_mut();
        let of_steps = stage.steps.iter_mut().flat_map(|step| {
            let conditions = step.entry.iter_mut().chain(&mut step.exit);
            step.job.iter_mut().chain(conditions.map(|evaluation| &mut evaluation.job))
        });
        exit.map(|evaluation| &mut evaluation.job).chain(of_steps).find(|job| job.id == id)
    })
}
