//! Projections: what the tables show of a submission. A pure function of the state, so that replaying a submission's
//! events gives its stored rows again (DESIGN 4, invariant 5).

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    Json,
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, UserName, WorkItemId},
    state::{Job, JobSpec, PlacedJob, StageRun, StepLock, StepRun, Submission, Verdict, WorkItem},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
    timer::{Timer, TimerKind},
};

/// All rows of one submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The row of the submission itself.
    pub submission: SubmissionRow,
    /// By id.
    pub stage_runs: BTreeMap<StageRunId, StageRunRow>,
    /// By id.
    pub step_runs: BTreeMap<StepRunId, StepRunRow>,
    /// By id.
    pub work_items: BTreeMap<WorkItemId, WorkItemRow>,
    /// By the work item that was decided.
    pub decisions: BTreeMap<WorkItemId, DecisionRow>,
    /// Live jobs only, by id: a finished row leaves, and one whose attempt is held by a suspension comes back with its resumption.
    pub jobs: BTreeMap<JobId, JobRow>,
    /// What follows from time alone; a row leaves with its timer.
    pub timers: BTreeMap<TimerKind, TimerRow>,
    /// By the step run that holds it; a row leaves with its lock.
    pub record_locks: BTreeMap<StepRunId, RecordLockRow>,
}

/// A row of `submission`.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionRow {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its id.
    pub id: SubmissionId,
    /// The number of events so far: what a commit checks.
    pub version: u64,
    /// The process's name.
    pub process: String,
    /// The process's version.
    pub process_version: u32,
    /// The record's type.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// The record's version.
    pub record_version: u32,
    /// The record's digest.
    pub record_digest: String,
    /// Who submitted it.
    pub submitter: UserName,
    /// Whom they acted for.
    pub on_behalf_of: Option<UserName>,
    /// What the submitter said.
    pub comment: String,
    /// One line for inbox and mail.
    pub summary: String,
    /// How it stands.
    pub status: SubmissionStatus,
    /// How it will end.
    pub ending: Option<SubmissionStatus>,
    /// The round it is in.
    pub round: u32,
    /// The stage that is in progress or in error.
    pub stage: Option<String>,
    /// Whether the stage in progress has a condition that reads `now`: it is looked at again as time passes.
    pub awaits_time: bool,
    /// Why it is in error: the stable reason.
    pub failure_reason: Option<String>,
    /// Why it is in error, for people.
    pub failure_message: Option<String>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A row of `stage_run`.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRunRow {
    /// Its id.
    pub id: StageRunId,
    /// The stage's name.
    pub stage: String,
    /// From 1.
    pub round: u32,
    /// How it stands.
    pub status: StageRunStatus,
    /// Why it is in error: the stable reason.
    pub failure_reason: Option<String>,
    /// Why it is in error, for people.
    pub failure_message: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A row of `step_run`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRunRow {
    /// Its id.
    pub id: StepRunId,
    /// The stage run it belongs to.
    pub stage_run: StageRunId,
    /// The stage's name.
    pub stage: String,
    /// The step's name.
    pub step: String,
    /// From 1.
    pub round: u32,
    /// How it stands.
    pub status: StepRunStatus,
    /// What it returned.
    pub outputs: Option<Arc<Json>>,
    /// How an approval step was settled: `APPROVE` or `REJECT`.
    pub settled: Option<Verdict>,
    /// Which administrator settled it over the heads of those who were asked.
    pub overridden_by: Option<UserName>,
    /// A background step's flow.
    pub flow: Option<String>,
    /// The version of the flow.
    pub flow_version: Option<u32>,
    /// The number of its job's latest attempt.
    pub attempt: Option<u32>,
    /// Why it is in error: the stable reason.
    pub failure_reason: Option<String>,
    /// Why it is in error, for people.
    pub failure_message: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When an approval step is due.
    pub due_at: Option<Timestamp>,
}

/// A row of `work_item`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkItemRow {
    /// Its id.
    pub id: WorkItemId,
    /// The approval step run it belongs to.
    pub step_run: StepRunId,
    /// The process's name.
    pub process: String,
    /// The stage's name.
    pub stage: String,
    /// The step's name.
    pub step: String,
    /// `user`, `group` or `queue`.
    pub assignee_kind: &'static str,
    /// The assignee's name.
    pub assignee: String,
    /// Why them.
    pub reason: String,
    /// How it stands.
    pub status: WorkItemStatus,
    /// When it was assigned.
    pub assigned_at: Timestamp,
    /// When it was decided or closed.
    pub closed_at: Option<Timestamp>,
    /// What a decision on it weighs.
    pub weight: u32,
    /// Whether a rejection of it settles its step.
    pub veto: bool,
    /// When its step is due.
    pub due_at: Option<Timestamp>,
    /// Who keeps it for themselves, of those who share it.
    pub claimed_by: Option<UserName>,
    /// Until when.
    pub claimed_until: Option<Timestamp>,
    /// What waits for the submitter's answer.
    pub question: Option<String>,
    /// Who asked it.
    pub question_by: Option<UserName>,
    /// When.
    pub question_at: Option<Timestamp>,
}

/// A row of `decision`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// The work item that was decided.
    pub work_item: WorkItemId,
    /// The approval step run it belongs to.
    pub step_run: StepRunId,
    /// Which way.
    pub verdict: Verdict,
    /// Who decided.
    pub actor: UserName,
    /// For whom, where it was for somebody else.
    pub on_behalf_of: Option<UserName>,
    /// The name of the delegation that let them.
    pub delegation: Option<String>,
    /// What they said.
    pub comment: String,
    /// The way it came.
    pub channel: String,
    /// The digest of the record that the reviewer saw.
    pub record_digest: String,
    /// When.
    pub decided_at: Timestamp,
}

/// A row of `job`: an open job. The store adds what is not of the submission: whether it was published, when it is to be
/// delivered again, and when it was last heard of.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its step run; none where it evaluates the exit condition of a stage.
    pub step_run: Option<StepRunId>,
    /// The process's name.
    pub process: String,
    /// The stage's name.
    pub stage: String,
    /// The step's name; empty where there is no step run.
    pub step: String,
    /// What it runs.
    pub spec: Arc<JobSpec>,
    /// From 1.
    pub attempt: u32,
    /// The live attempt's token.
    pub token: String,
    /// `Pending` or `Running`.
    pub status: JobStatus,
    /// When this attempt may be published.
    pub available_at: Timestamp,
    /// When a worker said that it started this attempt.
    pub started_at: Option<Timestamp>,
    /// When the attempt is over at the latest, heartbeats aside: the attempt's bound or that of all attempts.
    pub deadline: Option<Timestamp>,
    /// How long a started attempt may be silent.
    pub heartbeat_timeout: Option<SignedDuration>,
}

/// A row of `timer`. The store adds whether a server has taken it upon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// What it is for.
    pub kind: TimerKind,
    /// When.
    pub due_at: Timestamp,
}

/// A row of `record_lock`: a lock that a step holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLockRow {
    /// The step run that holds it.
    pub step_run: StepRunId,
    /// The record's type.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// The process.
    pub process: String,
    /// The stage's name.
    pub stage: String,
    /// The step's name.
    pub step: String,
    /// Whether those whom the step asks may change the record all the same.
    pub allow_reviewer_edit: bool,
    /// Since when.
    pub since: Timestamp,
}

/// The rows that one commit writes: what differs between two projections of a submission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// To be inserted or replaced.
    pub submission: Option<SubmissionRow>,
    /// To be inserted or replaced.
    pub stage_runs: Vec<StageRunRow>,
    /// To be inserted or replaced.
    pub step_runs: Vec<StepRunRow>,
    /// To be inserted or replaced.
    pub work_items: Vec<WorkItemRow>,
    /// To be inserted.
    pub decisions: Vec<DecisionRow>,
    /// To be inserted or replaced.
    pub jobs: Vec<JobRow>,
    /// To be deleted.
    pub jobs_gone: Vec<JobId>,
    /// To be inserted or replaced.
    pub timers: Vec<TimerRow>,
    /// To be deleted.
    pub timers_gone: Vec<TimerKind>,
    /// To be inserted or replaced.
    pub record_locks: Vec<RecordLockRow>,
    /// To be deleted.
    pub record_locks_gone: Vec<StepRunId>,
}

/// What the tables show of a submission.
pub fn project(state: &Submission) -> Projection {
    let steps = || state.stage_runs.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)));
    let items = || steps().flat_map(|(stage, step)| step.work_items.iter().map(move |item| (stage, step, item)));
    Projection {
        submission: submission_row(state),
        stage_runs: state.stage_runs.iter().map(|stage| (stage.id, stage_run_row(stage))).collect(),
        step_runs: steps().map(|(stage, step)| (step.id, step_run_row(stage, step))).collect(),
        work_items: items().map(|(stage, step, item)| (item.id, work_item_row(state, stage, step, item))).collect(),
        decisions: items().filter_map(|(_, step, item)| Some((item.id, decision_row(step, item)?))).collect(),
        jobs: state
            .jobs()
            .filter(|placed| placed.job.is_live() && !state.holds(placed.job))
            .map(|placed| (placed.job.id, job_row(state, placed)))
            .collect(),
        timers: timer_rows(state),
        record_locks: record_lock_rows(state),
    }
}

impl Projection {
    /// What has to be written to come here from `before` (`None`: nothing is stored yet).
    pub fn changes_since(&self, before: Option<&Self>) -> Changes {
        let empty = BTreeMap::new();
        let jobs_before = before.map_or(&empty, |before| &before.jobs);
        let no_timers = BTreeMap::new();
        let timers_before = before.map_or(&no_timers, |before| &before.timers);
        let no_locks = BTreeMap::new();
        let locks_before = before.map_or(&no_locks, |before| &before.record_locks);
        Changes {
            submission: (before.map(|before| &before.submission) != Some(&self.submission))
                .then(|| self.submission.clone()),
            stage_runs: changed(before.map(|before| &before.stage_runs), &self.stage_runs),
            step_runs: changed(before.map(|before| &before.step_runs), &self.step_runs),
            work_items: changed(before.map(|before| &before.work_items), &self.work_items),
            decisions: changed(before.map(|before| &before.decisions), &self.decisions),
            jobs: changed(Some(jobs_before), &self.jobs),
            jobs_gone: jobs_before.keys().filter(|id| !self.jobs.contains_key(id)).copied().collect(),
            timers: changed(Some(timers_before), &self.timers),
            timers_gone: timers_before.keys().filter(|kind| !self.timers.contains_key(kind)).copied().collect(),
            record_locks: changed(Some(locks_before), &self.record_locks),
            record_locks_gone: locks_before.keys().filter(|id| !self.record_locks.contains_key(id)).copied().collect(),
        }
    }
}

fn changed<K: Ord, R: Clone + PartialEq>(before: Option<&BTreeMap<K, R>>, after: &BTreeMap<K, R>) -> Vec<R> {
    after
        .iter()
        .filter(|(id, row)| before.and_then(|before| before.get(id)) != Some(row))
        .map(|(_, row)| row.clone())
        .collect()
}

fn submission_row(state: &Submission) -> SubmissionRow {
    SubmissionRow {
        tenant: state.tenant.clone(),
        id: state.id,
        version: state.version,
        process: state.process.name.clone(),
        process_version: state.process.version,
        record_type: state.record.record_type.clone(),
        record_id: state.record.id.clone(),
        record_version: state.record.version,
        record_digest: state.record.digest.clone(),
        submitter: state.submitter.clone(),
        on_behalf_of: state.on_behalf_of.clone(),
        comment: state.comment.clone(),
        summary: state.summary.clone(),
        status: state.status,
        ending: state.ending.map(crate::state::Ending::status),
        round: state.round,
        stage: state.current_stage().map(|stage| stage.name.clone()),
        awaits_time: state.status == SubmissionStatus::InProgress
            && state.current_stage().is_some_and(|stage| stage.awaits_time),
        failure_reason: state.failure.as_ref().map(|failure| failure.reason.as_str().to_owned()),
        failure_message: state.failure.as_ref().map(|failure| failure.message.clone()),
        submitted_at: state.submitted_at,
        ended_at: state.ended_at,
    }
}

fn stage_run_row(stage: &StageRun) -> StageRunRow {
    StageRunRow {
        id: stage.id,
        stage: stage.name.clone(),
        round: stage.round,
        status: stage.status,
        failure_reason: stage.failure.as_ref().map(|failure| failure.reason.as_str().to_owned()),
        failure_message: stage.failure.as_ref().map(|failure| failure.message.clone()),
        started_at: stage.started_at,
        ended_at: stage.ended_at,
    }
}

fn step_run_row(stage: &StageRun, step: &StepRun) -> StepRunRow {
    let flow = step.job.as_ref().map(|job| &job.spec.flow);
    StepRunRow {
        id: step.id,
        stage_run: stage.id,
        stage: stage.name.clone(),
        step: step.name.clone(),
        round: step.round,
        status: step.status,
        outputs: step.outputs.clone(),
        settled: step.settled,
        overridden_by: step.overridden.as_ref().map(|overridden| overridden.decision.actor.clone()),
        flow: flow.map(|flow| flow.name.clone()),
        flow_version: flow.map(|flow| flow.version),
        attempt: step.job.as_ref().map(|job| job.attempt),
        failure_reason: step.failure.as_ref().map(|failure| failure.reason.as_str().to_owned()),
        failure_message: step.failure.as_ref().map(|failure| failure.message.clone()),
        started_at: step.started_at,
        ended_at: step.ended_at,
        due_at: step.deadlines.due_at,
    }
}

fn work_item_row(state: &Submission, stage: &StageRun, step: &StepRun, item: &WorkItem) -> WorkItemRow {
    let question = item.open_question();
    WorkItemRow {
        id: item.id,
        step_run: step.id,
        process: state.process.name.clone(),
        stage: stage.name.clone(),
        step: step.name.clone(),
        assignee_kind: item.assignee.kind(),
        assignee: item.assignee.name().to_owned(),
        reason: item.why(),
        status: item.status,
        assigned_at: item.assigned_at,
        closed_at: item.closed_at,
        weight: item.weight,
        veto: item.veto,
        due_at: step.deadlines.due_at,
        claimed_by: item.claim.as_ref().map(|claim| claim.by.clone()),
        claimed_until: item.claim.as_ref().and_then(|claim| claim.until),
        question: question.map(|question| question.text.clone()),
        question_by: question.map(|question| question.by.clone()),
        question_at: question.map(|question| question.at),
    }
}

fn decision_row(step: &StepRun, item: &WorkItem) -> Option<DecisionRow> {
    let decision = item.decision.as_ref()?;
    Some(DecisionRow {
        work_item: item.id,
        step_run: step.id,
        verdict: decision.verdict,
        actor: decision.actor.clone(),
        on_behalf_of: decision.on_behalf_of.clone(),
        delegation: decision.delegation.clone(),
        comment: decision.comment.clone(),
        channel: decision.channel.clone(),
        record_digest: decision.record_digest.clone(),
        decided_at: item.closed_at?,
    })
}

fn job_row(state: &Submission, placed: PlacedJob<'_>) -> JobRow {
    let PlacedJob { stage, step, condition: _, job } = placed;
    JobRow {
        id: job.id,
        step_run: step.map(|step| step.id),
        process: state.process.name.clone(),
        stage: stage.name.clone(),
        step: step.map(|step| step.name.clone()).unwrap_or_default(),
        spec: Arc::clone(&job.spec),
        attempt: job.attempt,
        token: job.token.reveal().to_owned(),
        status: job.status,
        available_at: job.available_at,
        started_at: job.started_at,
        deadline: job.deadline(),
        heartbeat_timeout: job.spec.retry.heartbeat_timeout.map(milliseconds),
    }
}

fn timer_rows(state: &Submission) -> BTreeMap<TimerKind, TimerRow> {
    let row = |timer: Timer| (timer.kind, TimerRow { kind: timer.kind, due_at: timer.at });
    state.timers().into_iter().map(row).collect()
}

fn record_lock_rows(state: &Submission) -> BTreeMap<StepRunId, RecordLockRow> {
    let row = |(stage, step, lock): (&StageRun, &StepRun, StepLock)| RecordLockRow {
        step_run: step.id,
        record_type: state.record.record_type.clone(),
        record_id: state.record.id.clone(),
        process: state.process.name.clone(),
        stage: stage.name.clone(),
        step: step.name.clone(),
        allow_reviewer_edit: lock.allow_reviewer_edit,
        since: step.started_at.unwrap_or(stage.started_at),
    };
    state.locks().map(|holder| (holder.1.id, row(holder))).collect()
}

impl Job {
    /// When the live attempt is over at the latest: its own bound once it has started, and that of all attempts together.
    pub fn deadline(&self) -> Option<Timestamp> {
        let attempt = self.started_at.map(|at| later(at, self.spec.retry.timeout));
        let total = self.total_deadline();
        attempt.into_iter().chain(total).min()
    }

    /// When all attempts together are over at the latest.
    pub fn total_deadline(&self) -> Option<Timestamp> {
        self.spec.retry.total_timeout.map(|total| later(self.scheduled_at, total))
    }
}

/// A duration of so many milliseconds, at most some hundred years.
pub fn milliseconds(count: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(count).unwrap_or(i64::MAX).min(10_000_000_000_000))
}

/// The time so many milliseconds earlier, or the first there is.
pub fn earlier(at: Timestamp, count: u64) -> Timestamp {
    at.checked_sub(milliseconds(count)).unwrap_or(Timestamp::MIN)
}

/// The time so many milliseconds later, or the last there is.
pub fn later(at: Timestamp, count: u64) -> Timestamp {
    at.checked_add(milliseconds(count)).unwrap_or(Timestamp::MAX)
}
