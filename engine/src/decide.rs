//! Decide: what follows from a command, or why nothing does. One total function of the state, the command and the context.

mod assignees;
mod authorize;
mod because;
mod choices;
mod conditions;
mod delegates;
mod draft;
mod effects;
mod escalate;
mod evaluations;
mod items;
mod job;
mod migrate;
mod operate;
mod progress;
mod record;
mod resubmit;
mod screens;
mod start;
mod timers;

pub use because::unmet_conditions;

pub use authorize::{Deciding, Right, authorize_decision, may_decide};
pub use effects::flow_author;
pub use items::QUESTIONS_MAX;
pub(crate) use job::CONDITION_MET;
pub use record::RECORD_BYTES_MAX;
pub use screens::{OpenPage, Opening, SCREEN_BYTES_MAX, SCREEN_VALUES_BYTES_MAX, Screen, open_screen};

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    Json,
    command::{Actor, Command, Decide, Submit},
    context::Context,
    definition::Process,
    event::{Event, EventKind},
    evolve,
    id::{StepRunId, UserName, WorkItemId},
    refusal::Refusal,
    state::{Decision, Ending, Record, StepRun, Submission, Verdict, WorkItem},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
};

use draft::Draft;

/// How long a comment may be, in bytes: what a mail or a screen can still show (the original allows 4,000 characters).
pub const COMMENT_BYTES_MAX: usize = 4_000;

/// How many events a submission may have before comments and further rounds are refused: a history stays readable, and can
/// be loaded in one go.
pub const EVENTS_MAX: u64 = 10_000;

/// How often routing may go back before the submission is taken for one that never ends.
pub const ROUNDS_MAX: u32 = 100;

/// How often one stage may be reached, by routing or as a fault path, before the submission is taken for one that never ends:
/// once in each round.
pub const VISITS_MAX: usize = ROUNDS_MAX as usize;

/// What follows from a command.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The state with the events applied.
    pub state: Submission,
    /// What happened, in order. Empty: the command was right and changed nothing.
    pub events: Vec<Event>,
    /// For a heartbeat: that the job is alive is not an event, but the store has to know.
    pub heartbeat: bool,
}

/// Decides a command on a submission; `state` is `None` for one that does not exist yet.
pub fn decide(state: Option<&Submission>, command: &Command, context: &mut Context<'_>) -> Result<Decided, Refusal> {
    let Some(state) = state else {
        return match command {
            Command::Submit(submit) => decide_submit(submit, context),
            Command::Report(_) | Command::JobOverdue { .. } => Err(Refusal::JobNotFound),
            Command::Decide(_)
            | Command::SubmitScreen(_)
            | Command::ReportScreenFailure { .. }
            | Command::Claim { .. }
            | Command::Release { .. }
            | Command::Reassign { .. }
            | Command::RequestInformation { .. }
            | Command::AnswerInformation { .. }
            | Command::SendBack { .. } => Err(Refusal::WorkItemNotFound),
            _ => Err(Refusal::SubmissionNotFound),
        };
    };
    let mut draft = Draft::new(state.clone(), context);
    match command {
        // The id is new for each submission: one that exists was stored by this very command before.
        Command::Submit(_) => draft.progress(),
        Command::Wake => {
            draft.fire_timers();
            draft.progress();
        }
        Command::Decide(decide) => decide_work_item(&mut draft, decide, None)?,
        Command::SubmitScreen(command) => screens::submit_screen(&mut draft, command)?,
        Command::ReportScreenFailure { work_item, by } => screens::report_failure(&mut draft, *work_item, by)?,
        Command::Recall { by, comment } => recall(&mut draft, by, comment)?,
        Command::Cancel { by, comment } => cancel(&mut draft, by, comment)?,
        Command::Comment { by, comment } => add_comment(&mut draft, by, comment)?,
        Command::RetryStep { by, step } => retry_step(&mut draft, by, step)?,
        Command::RetryStage { by, stage } => retry_stage(&mut draft, by, stage)?,
        Command::SkipStep { by, step, outputs, comment } => skip_step(&mut draft, by, step, outputs, comment)?,
        Command::UpdateRecord(update) => record::update_record(&mut draft, update)?,
        Command::Suspend { by, comment } => operate::suspend(&mut draft, by, comment)?,
        Command::Resume { by, comment } => operate::resume(&mut draft, by, comment)?,
        Command::GoToStage { by, stage, comment } => operate::go_to_stage(&mut draft, by, stage, comment)?,
        Command::Claim { work_item, by } => items::claim(&mut draft, *work_item, by)?,
        Command::Release { work_item, by } => items::release(&mut draft, *work_item, by)?,
        Command::Reassign { work_item, by, to, comment } => items::reassign(&mut draft, *work_item, by, to, comment)?,
        Command::Override(command) => items::override_step(&mut draft, command)?,
        Command::RequestInformation { work_item, by, question } => {
            items::request_information(&mut draft, *work_item, by, question)?;
        }
        Command::AnswerInformation { work_item, by, answer } => {
            items::answer_information(&mut draft, *work_item, by, answer)?;
        }
        Command::SendBack { work_item, by, to, comment } => items::send_back(&mut draft, *work_item, by, to, comment)?,
        Command::Migrate(migrate) => migrate::migrate(&mut draft, migrate)?,
        Command::Report(report) => draft.report(report)?,
        Command::JobOverdue { job, attempt, heartbeat_at } => draft.job_overdue(*job, *attempt, *heartbeat_at)?,
    }
    Ok(draft.finish())
}

/// SHA-256 over a record's data, in hexadecimal: the same for the same data, whatever the order of its fields.
pub fn record_digest(data: &Json) -> String {
    format!("{:x}", Sha256::digest(data.to_string().as_bytes()))
}

fn decide_submit(submit: &Submit, context: &mut Context<'_>) -> Result<Decided, Refusal> {
    check_comment("comment", &submit.comment)?;
    for person in std::iter::once(&submit.submitter).chain(&submit.on_behalf_of) {
        if context.directory.users.get(person.as_str()).is_some_and(|user| !user.active) {
            return Err(Refusal::NotActive { actor: person.clone() });
        }
    }
    let process = context.process;
    if !submit.record_type.is_empty() && submit.record_type != process.record.name {
        let (takes, given) = (process.record.name.clone(), submit.record_type.clone());
        return Err(Refusal::RecordTypeUnfit { takes, given });
    }
    let violations = process.record.schema.as_ref().map(|schema| schema.violations(&submit.data)).unwrap_or_default();
    if !violations.is_empty() {
        return Err(Refusal::RecordInvalid { violations });
    }
    let record = Record {
        record_type: process.record.name.clone(),
        id: submit.record_id.clone(),
        version: 1,
        digest: record_digest(&submit.data),
        data: Arc::clone(&submit.data),
        source_version: submit.source_version,
    };
    let before = submit.before.as_deref();
    let resubmission = before.map(|before| resubmit::resubmission(submit, before, process)).transpose()?;
    let summary = conditions::summary(process, submit, &record, context.now);
    let event = Event {
        at: context.now,
        kind: EventKind::Submitted {
            tenant: submit.tenant.clone(),
            submission: submit.id,
            process: submit.process.clone(),
            record,
            submitter: submit.submitter.clone(),
            on_behalf_of: submit.on_behalf_of.clone(),
            comment: submit.comment.clone(),
            choices: submit.choices.clone(),
            summary,
            resubmission,
            traceparent: submit.traceparent.clone(),
        },
    };
    let Some(state) = evolve::begin(&event) else { unreachable!("the event just made is that of a submission") };
    choices::check_choices(&state, process, context.directory)?;
    let mut draft = Draft::begin(state, event, context);
    draft.start_stage(0);
    draft.progress();
    Ok(draft.finish())
}

fn decide_work_item(draft: &mut Draft<'_, '_>, decide: &Decide, values: Option<&Arc<Json>>) -> Result<(), Refusal> {
    check_comment("comment", &decide.comment)?;
    let (_, step, item) = draft.state.work_item(decide.work_item).ok_or(Refusal::WorkItemNotFound)?;
    let Context { process, directory, now, .. } = *draft.context;
    let right = authorize_decision(
        &Deciding { state: &draft.state, process, step, item: Some(item), directory, now },
        &decide.actor,
    )?;
    check_open(item)?;
    check_in_progress(&draft.state)?;
    if decide.verdict == Verdict::Abstain && !may_abstain(draft.context.process, &step.name) {
        return Err(Refusal::AbstentionNotAllowed { step: step.name.clone() });
    }
    if decide.record_digest != draft.state.record.digest {
        return Err(Refusal::RecordChanged { digest: draft.state.record.digest.clone() });
    }
    if decide.verdict == Verdict::Reject && decide.comment.trim().is_empty() {
        return Err(Refusal::CommentMissing);
    }
    if let Some(values) = values {
        screens::check_values(draft, step, values)?;
    }
    let (delegation, on_behalf_of) = match right {
        Right::Own | Right::Membership | Right::Override => (None, None),
        Right::Delegation { name, person } => (Some(name), Some(person)),
    };
    let decision = Decision {
        verdict: decide.verdict,
        actor: decide.actor.clone(),
        on_behalf_of,
        delegation,
        comment: decide.comment.clone(),
        channel: decide.channel.clone(),
        record_digest: decide.record_digest.clone(),
        values: screens::kept(values),
    };
    draft.emit(EventKind::WorkItemDecided { work_item: decide.work_item, decision });
    draft.progress_from_decision();
    Ok(())
}

/// Whether those whom a step asks may abstain.
fn may_abstain(process: &Process, step: &str) -> bool {
    authorize::approval_step(process, step).is_some_and(|step| step.abstain)
}

/// Whether an item can still be decided; the refusal says by whom it was, and when.
fn check_open(item: &WorkItem) -> Result<(), Refusal> {
    match (item.status, &item.decision, item.closed_at) {
        (WorkItemStatus::Assigned, ..) => Ok(()),
        (_, Some(decision), Some(at)) => {
            Err(Refusal::AlreadyDecided { by: decision.actor.clone(), at, verdict: decision.verdict })
        }
        (status, ..) => Err(Refusal::WorkItemClosed { status }),
    }
}

fn recall(draft: &mut Draft<'_, '_>, by: &Actor, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    if !is_own(&draft.state, &by.name) && !by.administrator {
        return Err(Refusal::NotPermitted { actor: by.name.clone(), needed: "the submitter or an administrator" });
    }
    match draft.state.status {
        SubmissionStatus::InProgress | SubmissionStatus::Suspended => {}
        status => return Err(Refusal::SubmissionStatusUnfit { status, needed: "IN_PROGRESS or SUSPENDED" }),
    }
    check_not_ending(&draft.state)?;
    draft.cancel_stage(WorkItemStatus::Recalled);
    draft.emit(EventKind::Recalled { by: by.name.clone(), comment: comment.to_owned() });
    draft.run_ending(Ending::Recalled);
    Ok(())
}

fn cancel(draft: &mut Draft<'_, '_>, by: &Actor, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    check_administrator(by)?;
    check_not_ending(&draft.state)?;
    draft.cancel_stage(WorkItemStatus::Canceled);
    draft.emit(EventKind::Canceled { by: by.name.clone(), comment: comment.to_owned() });
    draft.run_ending(Ending::Canceled);
    Ok(())
}

fn add_comment(draft: &mut Draft<'_, '_>, by: &Actor, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    if comment.trim().is_empty() {
        return Err(Refusal::CommentMissing);
    }
    check_history(&draft.state)?;
    let involved = by.administrator || is_own(&draft.state, &by.name) || asks(&draft.state, &by.name, draft.context);
    if !involved {
        return Err(Refusal::NotPermitted {
            actor: by.name.clone(),
            needed: "the submitter, somebody who was asked, or an administrator",
        });
    }
    draft.emit(EventKind::Commented { by: by.name.clone(), comment: comment.to_owned() });
    Ok(())
}

/// Whether any work item of the submission asks, or asked, this person or somebody for whom they act.
fn asks(state: &Submission, name: &UserName, context: &Context<'_>) -> bool {
    let Context { process, directory, now, .. } = *context;
    let mut items = state.stage_runs.iter().flat_map(|stage| &stage.steps).flat_map(|step| &step.work_items);
    items.any(|item| {
        may_decide(&item.assignee, name, directory)
            || delegates::acts_for(state, process, directory, now, (&item.assignee, name))
    })
}

fn retry_step(draft: &mut Draft<'_, '_>, by: &Actor, step: &str) -> Result<(), Refusal> {
    let failed = revive_stage_of(draft, by, step)?;
    draft.revive_step(failed);
    draft.progress();
    Ok(())
}

fn retry_stage(draft: &mut Draft<'_, '_>, by: &Actor, stage: &str) -> Result<(), Refusal> {
    check_in_error(&draft.state, by)?;
    let latest = draft.state.stage_runs.iter().rev().find(|run| run.name == stage);
    let failed = latest
        .filter(|run| run.status == StageRunStatus::Error && run.ending == draft.state.ending)
        .filter(|run| run.steps.iter().all(|step| step.status != StepRunStatus::Error))
        .ok_or_else(|| Refusal::StageNotInError { stage: stage.to_owned() })?;
    let stage_run = failed.id;
    draft.revive_stage(stage_run, None, by);
    draft.progress();
    Ok(())
}

fn skip_step(draft: &mut Draft<'_, '_>, by: &Actor, step: &str, outputs: &Json, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    let failed = revive_stage_of(draft, by, step)?;
    draft.emit(EventKind::StepSkipped {
        step_run: failed,
        outputs: Arc::new(outputs.clone()),
        by: by.name.clone(),
        comment: comment.to_owned(),
    });
    draft.progress();
    Ok(())
}

/// Brings back the stage that a step in error has stopped, and with it what the error discontinued.
fn revive_stage_of(draft: &mut Draft<'_, '_>, by: &Actor, step: &str) -> Result<StepRunId, Refusal> {
    check_in_error(&draft.state, by)?;
    // Only the latest run of a step counts: an earlier one was left behind when its stage was reached again. And what led to an
    // ending is over: the path to it is all that can be brought back.
    let (stage, failed) = draft
        .state
        .latest_steps()
        .get(step)
        .and_then(|latest| draft.state.step_run(latest.id))
        .filter(|(stage, run)| run.status == StepRunStatus::Error && stage.ending == draft.state.ending)
        .ok_or_else(|| Refusal::StepNotInError { step: step.to_owned() })?;
    let (stage_run, failed) = (stage.id, failed.id);
    draft.revive_stage(stage_run, Some(failed), by);
    Ok(failed)
}

/// What an administrator mends is a submission in error.
fn check_in_error(state: &Submission, by: &Actor) -> Result<(), Refusal> {
    check_not_ended(state)?;
    check_administrator(by)?;
    match state.status {
        SubmissionStatus::Error => Ok(()),
        status => Err(Refusal::SubmissionStatusUnfit { status, needed: "ERROR" }),
    }
}

fn check_not_ended(state: &Submission) -> Result<(), Refusal> {
    if state.status.is_terminal() { Err(Refusal::SubmissionEnded { status: state.status }) } else { Ok(()) }
}

fn check_in_progress(state: &Submission) -> Result<(), Refusal> {
    check_not_ended(state)?;
    match state.status {
        SubmissionStatus::InProgress => Ok(()),
        status => Err(Refusal::SubmissionStatusUnfit { status, needed: "IN_PROGRESS" }),
    }
}

fn check_not_ending(state: &Submission) -> Result<(), Refusal> {
    match state.ending {
        Some(ending) => Err(Refusal::EndingAlready { ending }),
        None => Ok(()),
    }
}

fn check_administrator(by: &Actor) -> Result<(), Refusal> {
    if by.administrator {
        Ok(())
    } else {
        Err(Refusal::NotPermitted { actor: by.name.clone(), needed: "an administrator" })
    }
}

/// Whether somebody submitted it, or it was submitted for them.
fn is_own(state: &Submission, name: &UserName) -> bool {
    *name == state.submitter || Some(name) == state.on_behalf_of.as_ref()
}

/// Whether there is room for what does not bring the submission on.
fn check_history(state: &Submission) -> Result<(), Refusal> {
    if state.version >= EVENTS_MAX { Err(Refusal::HistoryFull { max: EVENTS_MAX }) } else { Ok(()) }
}

fn check_comment(field: &'static str, comment: &str) -> Result<(), Refusal> {
    if comment.len() > COMMENT_BYTES_MAX { Err(Refusal::TooLong { field, max: COMMENT_BYTES_MAX }) } else { Ok(()) }
}

/// The work items of a step run that are still open.
fn open_items(step: &StepRun) -> Vec<WorkItemId> {
    step.work_items.iter().filter(|item| item.is_open()).map(|item| item.id).collect()
}

/// Whether a moment has passed.
fn has_passed(moment: Option<Timestamp>, now: Timestamp) -> bool {
    moment.is_some_and(|moment| moment <= now)
}
