//! Events: the stored facts of a submission, in the past tense. They are its history and its audit trail.
//!
//! The names and fields here are stored for ever: a field may be added with a default, never renamed or given another
//! meaning.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Json,
    definition::ExpiryOutcome,
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, Token, UserName, WorkItemId},
    state::{
        Assignee, Condition, Decision, Ending, Failure, JobSpec, Kept, Record, Resubmission, Reused, Verdict,
        VersionRef,
    },
    status::{SubmissionStatus, WorkItemStatus},
    timer::Deadlines,
    trace::TraceParent,
};

/// An event and the moment it was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When: the time that the deciding server's clock showed, to the microsecond.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// Why something followed: the rule, and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Because {
    /// The rule as it is written, such as `start: when record.amount > 10000.0`.
    pub rule: String,
    /// What it read, by name, such as `record.amount`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Json>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// A record was submitted. Always the first event.
    Submitted {
        /// Whose it is.
        tenant: Tenant,
        /// The new submission.
        submission: SubmissionId,
        /// The process version it stays on.
        process: VersionRef,
        /// The copy that was submitted.
        record: Record,
        /// Who submitted it.
        submitter: UserName,
        /// Whom they acted for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<UserName>,
        /// What the submitter said.
        #[serde(default)]
        comment: String,
        /// Whom the submitter chose to be asked, by the step's name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        choices: BTreeMap<String, Vec<String>>,
        /// One line for inbox and mail.
        #[serde(default)]
        summary: String,
        /// The submission that this one takes the place of, and what was approved there that may count again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resubmission: Option<Resubmission>,
        /// The trace of the call, where it named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<TraceParent>,
    },
    /// Somebody said something.
    Commented {
        /// Who.
        by: UserName,
        /// What.
        comment: String,
    },
    /// The record has other data.
    RecordUpdated {
        /// As it is now.
        record: Record,
        /// Who changed it.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
        /// The one line for inbox and mail, as it is now.
        #[serde(default)]
        summary: String,
        /// The decisions that no longer count because of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dismissed: Vec<Dismissed>,
        /// What stands although its stage starts again, where that has changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<Kept>,
    },
    /// The record has changed in the system that it lives in, and the submission goes on with the copy that it has.
    RecordChangeIgnored {
        /// Who told of it.
        by: UserName,
        /// The digest of the data that was not taken.
        digest: String,
        /// That system's own number of the change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_version: Option<u64>,
        /// The reason of the refusal.
        reason: String,
        /// Why, for people.
        message: String,
    },
    /// A stage was reached.
    StageStarted {
        /// The new stage run.
        stage_run: StageRunId,
        /// The stage's name.
        stage: String,
        /// The path it is, when it is none of the process's own stages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ending: Option<Ending>,
        /// From 1: how often this stage has been visited.
        round: u32,
        /// The submission's round from here on.
        submission_round: u32,
        /// Whether a condition of the stage reads `now`: such a stage is looked at again as time passes.
        #[serde(default)]
        awaits_time: bool,
        /// Its steps, in written order.
        steps: Vec<NewStepRun>,
        /// The rule of routing that led here; none for the first stage, and where the event before says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
    },
    /// A stage's exit condition held.
    StageCompleted {
        /// Which.
        stage_run: StageRunId,
        /// By which rule; none: all its steps were completed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
    },
    /// A stage was left before it had completed: an earlier one, or it itself, starts again, or an administrator chose another.
    StageDiscontinued {
        /// Which.
        stage_run: StageRunId,
    },
    /// A stage met an error.
    StageFailed {
        /// Which.
        stage_run: StageRunId,
        /// Why.
        failure: Failure,
    },
    /// A stage was in progress when the submission was recalled or canceled.
    StageCanceled {
        /// Which.
        stage_run: StageRunId,
    },
    /// An administrator brought a stage in error back.
    StageRevived {
        /// Which.
        stage_run: StageRunId,
        /// Who.
        by: UserName,
    },
    /// A step's entry condition held.
    StepStarted {
        /// Which.
        step_run: StepRunId,
        /// By which rule; none: its stage had started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
        /// The version of its screen flow that an approval step is bound to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        screen: Option<VersionRef>,
    },
    /// A step that has started locks the record, until it is no longer in progress.
    RecordLocked {
        /// Which.
        step_run: StepRunId,
        /// Whether those whom it asks may change the record all the same.
        allow_reviewer_edit: bool,
    },
    /// A step met its exit condition, or its flow completed.
    StepCompleted {
        /// Which.
        step_run: StepRunId,
        /// What it returned.
        outputs: Arc<Json>,
        /// How an approval step was settled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<Verdict>,
        /// Whose earlier decisions it completed by, where nobody was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused: Option<Reused>,
        /// By which rule; none: its flow completed, or what else is said here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
    },
    /// A step met an error.
    StepFailed {
        /// Which.
        step_run: StepRunId,
        /// Why.
        failure: Failure,
    },
    /// A step was in progress when its stage completed, met an error, or was left.
    StepDiscontinued {
        /// Which.
        step_run: StepRunId,
    },
    /// A step was in progress when the submission was recalled or canceled.
    StepCanceled {
        /// Which.
        step_run: StepRunId,
    },
    /// A step that an error had ended or discontinued is in progress again.
    StepRevived {
        /// Which.
        step_run: StepRunId,
        /// The version of its screen flow that it is bound to from now on, where that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        screen: Option<VersionRef>,
    },
    /// An administrator completed a step in error with outputs of their own.
    StepSkipped {
        /// Which.
        step_run: StepRunId,
        /// What they stated.
        outputs: Arc<Json>,
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// Some of those whom the rules of assignment name were not asked.
    AssigneesLeftOut {
        /// The approval step run.
        step_run: StepRunId,
        /// Who, and what stands against asking them. The last may be how many more there are.
        reasons: Vec<String>,
    },
    /// The moments of an approval step were worked out: when it started, or when it was brought back.
    DeadlinesSet {
        /// The approval step run.
        step_run: StepRunId,
        /// The moments.
        deadlines: Deadlines,
    },
    /// An approval step's due date passed, and somebody was still asked.
    StepOverdue {
        /// The approval step run.
        step_run: StepRunId,
    },
    /// Those who had not decided were reminded.
    AssigneesReminded {
        /// The approval step run.
        step_run: StepRunId,
        /// How many of the step's reminders are over with this one.
        reminders: u32,
        /// Their work items.
        work_items: Vec<WorkItemId>,
    },
    /// Others were to be asked as well, or instead, as nobody had decided. What follows tells who is.
    StepEscalated {
        /// The approval step run.
        step_run: StepRunId,
        /// The number of the step's rule, from 1.
        escalation: u32,
        /// The work items that others are asked instead of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        replaced: Vec<WorkItemId>,
        /// Who is not asked, and why; where nobody is, why not.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<String>,
    },
    /// Nobody had decided in time.
    StepExpired {
        /// The approval step run.
        step_run: StepRunId,
        /// What the process says of that.
        outcome: ExpiryOutcome,
    },
    /// Somebody was asked.
    WorkItemAssigned {
        /// The new work item.
        work_item: WorkItemId,
        /// Its approval step run.
        step_run: StepRunId,
        /// Whom it asks.
        assignee: Assignee,
        /// Why them.
        reason: String,
        /// What a decision on it weighs.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        weight: u32,
        /// Whether a rejection of it settles the step at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        veto: bool,
    },
    /// Somebody decided.
    WorkItemDecided {
        /// Which.
        work_item: WorkItemId,
        /// What.
        decision: Decision,
    },
    /// A work item asks somebody else from now on.
    WorkItemReassigned {
        /// Which.
        work_item: WorkItemId,
        /// Whom it asked.
        from: Assignee,
        /// Whom it asks.
        to: Assignee,
        /// Who saw to it.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
        /// Whether a rejection of it settles the step at once from now on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        veto: bool,
    },
    /// One of those who share a work item keeps it for themselves.
    WorkItemClaimed {
        /// Which.
        work_item: WorkItemId,
        /// Who.
        by: UserName,
        /// Until when; none: until they release it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A claimed work item is open again to all who share it.
    WorkItemReleased {
        /// Which.
        work_item: WorkItemId,
        /// Who released it; none: its time had passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserName>,
    },
    /// Somebody who is asked to decide asked the submitter something.
    InformationRequested {
        /// The work item that it is about.
        work_item: WorkItemId,
        /// Who.
        by: UserName,
        /// What.
        question: String,
    },
    /// The open question of a work item was answered.
    InformationAnswered {
        /// Which.
        work_item: WorkItemId,
        /// Who.
        by: UserName,
        /// What.
        answer: String,
    },
    /// An administrator settled a step over the heads of those who were asked.
    StepOverridden {
        /// Which.
        step_run: StepRunId,
        /// How. Its channel is `OVERRIDE`.
        decision: Decision,
    },
    /// Somebody sent the submission back to an earlier stage.
    SentBack {
        /// The stage run that ends by it.
        stage_run: StageRunId,
        /// The work item on which they did.
        work_item: WorkItemId,
        /// The name of the stage that comes next.
        to: String,
        /// Who.
        by: UserName,
        /// Why.
        comment: String,
    },
    /// A work item was closed without a decision.
    WorkItemClosed {
        /// Which.
        work_item: WorkItemId,
        /// `WITHDRAWN`, `CANCELED`, `RECALLED` or `ERRORED`.
        status: WorkItemStatus,
    },
    /// A work item that an error had closed is open again.
    WorkItemRevived {
        /// Which.
        work_item: WorkItemId,
    },
    /// A job was made for a background step run.
    JobScheduled {
        /// The new job.
        job: JobId,
        /// Its step run.
        step_run: StepRunId,
        /// What it runs.
        spec: Arc<JobSpec>,
        /// The first attempt's token.
        token: Token,
    },
    /// A worker said that it started an attempt.
    JobStarted {
        /// Which.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// Who said so.
        #[serde(default)]
        worker: String,
    },
    /// An attempt failed and the next is due.
    JobAttemptFailed {
        /// Which.
        job: JobId,
        /// The attempt that failed.
        attempt: u32,
        /// Its error's code.
        code: String,
        /// Its error's message.
        message: String,
        /// The next attempt's token.
        next_token: Token,
        /// When the next attempt may be published.
        next_at: Timestamp,
        /// Whether its worker gave it up because it was stopped: such an attempt is not counted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
    },
    /// A flow completed.
    JobCompleted {
        /// Which.
        job: JobId,
        /// Which attempt.
        attempt: u32,
    },
    /// A flow failed, and there is no further attempt.
    JobFailed {
        /// Which.
        job: JobId,
        /// The attempt that failed.
        attempt: u32,
        /// Its error's code.
        code: String,
        /// Its error's message.
        message: String,
    },
    /// A job's step ended without it.
    JobCanceled {
        /// Which.
        job: JobId,
    },
    /// A flow that completed told other systems something.
    FlowEventEmitted {
        /// Its job.
        job: JobId,
        /// The background step run.
        step_run: StepRunId,
        /// The flow.
        flow: VersionRef,
        /// What it told.
        event: EmittedEvent,
    },
    /// An administrator retried the step of a job that had ended: its next attempt is due.
    JobRevived {
        /// Which.
        job: JobId,
        /// The number of the next attempt.
        attempt: u32,
        /// Its token.
        token: Token,
    },
    /// A flow was asked whether a condition holds.
    EvaluationScheduled {
        /// The new job.
        job: JobId,
        /// The condition.
        condition: Condition,
        /// What it runs.
        spec: Arc<JobSpec>,
        /// The first attempt's token.
        token: Token,
    },
    /// A flow answered whether a condition holds.
    EvaluationCompleted {
        /// Which job.
        job: JobId,
        /// The condition.
        condition: Condition,
        /// Which attempt.
        attempt: u32,
        /// The answer.
        met: bool,
        /// Whether the submission had changed since it was asked: such an answer does not count, and it is asked again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stale: bool,
    },
    /// It is settled that the submission will end Rejected.
    RejectionDecided {
        /// The approval step run that was rejected; none where routing said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step_run: Option<StepRunId>,
    },
    /// The submitter, or an administrator, took the submission back.
    Recalled {
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// An administrator ended the submission.
    Canceled {
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// An administrator holds the submission: nothing starts until it is resumed.
    SubmissionSuspended {
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// An administrator let a suspended submission go on.
    SubmissionResumed {
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// An administrator sent the submission to a stage of their choice, which starts next.
    MovedToStage {
        /// The stage's name.
        stage: String,
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// An administrator moved the submission to another version of its process. Its history takes the names of that version.
    SubmissionMigrated {
        /// The version it was on.
        from: VersionRef,
        /// The version it is on from here.
        to: VersionRef,
        /// What stages are called from here, by what they were called; the others keep their names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        stages: BTreeMap<String, String>,
        /// What steps are called from here, by what they were called; the others keep their names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        steps: BTreeMap<String, String>,
        /// The steps that the current stage gains.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        added: Vec<NewStepRun>,
        /// Whether a condition of the current stage reads `now` from here.
        #[serde(default)]
        awaits_time: bool,
        /// Who.
        by: UserName,
        /// Why.
        #[serde(default)]
        comment: String,
    },
    /// The submission stopped in error.
    SubmissionFailed {
        /// Why.
        failure: Failure,
    },
    /// The submission ended.
    SubmissionEnded {
        /// `APPROVED`, `REJECTED`, `RECALLED` or `CANCELED`.
        status: SubmissionStatus,
    },
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// What a flow tells other systems: the attributes of a `CloudEvent` that are the flow's to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmittedEvent {
    /// What kind of thing it tells: never one of Quorate's own.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Where it happened; none: the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it is about; none: the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The schema that its data follows: a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_schema: Option<String>,
    /// Any JSON; none: there is nothing more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

/// A step run as its stage run starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStepRun {
    /// Its id.
    pub step_run: StepRunId,
    /// The step's name.
    pub step: String,
}

/// The decisions of a step run that no longer count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dismissed {
    /// The step run.
    pub step_run: StepRunId,
    /// The step's name.
    pub step: String,
    /// Who had decided.
    pub deciders: Vec<UserName>,
}

/// A stored event could not be read: the store holds what no version of the engine wrote.
#[derive(Debug, thiserror::Error)]
#[error("event of kind `{kind}` cannot be read: {reason}")]
pub struct UnreadableEvent {
    /// The kind as stored.
    pub kind: String,
    /// What is wrong with it.
    pub reason: String,
}

impl EventKind {
    /// Whether a flow that is asked about a condition may answer otherwise after this. What is only on the way to a result (a
    /// step that has started, a job's attempts) does not count, nor does what no condition reads; else two conditions of one
    /// stage would make each other's answers stale for nothing.
    pub const fn may_change_conditions(&self) -> bool {
        match self {
            Self::Submitted { .. }
            | Self::RecordUpdated { .. }
            | Self::StageStarted { .. }
            | Self::StageDiscontinued { .. }
            | Self::StepOverdue { .. }
            | Self::StepExpired { .. }
            | Self::StepOverridden { .. }
            | Self::SentBack { .. }
            | Self::MovedToStage { .. }
            | Self::SubmissionResumed { .. }
            | Self::SubmissionMigrated { .. }
            | Self::StageCompleted { .. }
            | Self::StageFailed { .. }
            | Self::StageCanceled { .. }
            | Self::StageRevived { .. }
            | Self::StepCompleted { .. }
            | Self::StepFailed { .. }
            | Self::StepDiscontinued { .. }
            | Self::StepCanceled { .. }
            | Self::StepRevived { .. }
            | Self::StepSkipped { .. }
            | Self::WorkItemDecided { .. }
            | Self::RejectionDecided { .. }
            | Self::Recalled { .. }
            | Self::Canceled { .. }
            | Self::SubmissionFailed { .. }
            | Self::SubmissionEnded { .. } => true,
            Self::Commented { .. }
            | Self::FlowEventEmitted { .. }
            | Self::RecordChangeIgnored { .. }
            | Self::StepStarted { .. }
            | Self::DeadlinesSet { .. }
            | Self::AssigneesReminded { .. }
            | Self::StepEscalated { .. }
            | Self::WorkItemReassigned { .. }
            | Self::WorkItemClaimed { .. }
            | Self::WorkItemReleased { .. }
            | Self::InformationRequested { .. }
            | Self::InformationAnswered { .. }
            | Self::SubmissionSuspended { .. }
            | Self::AssigneesLeftOut { .. }
            | Self::RecordLocked { .. }
            | Self::WorkItemAssigned { .. }
            | Self::WorkItemClosed { .. }
            | Self::WorkItemRevived { .. }
            | Self::JobScheduled { .. }
            | Self::JobStarted { .. }
            | Self::JobAttemptFailed { .. }
            | Self::JobCompleted { .. }
            | Self::JobFailed { .. }
            | Self::JobCanceled { .. }
            | Self::JobRevived { .. }
            | Self::EvaluationScheduled { .. }
            | Self::EvaluationCompleted { .. } => false,
        }
    }

    /// The kind's name and its body, as they are stored.
    pub fn to_parts(&self) -> (String, Json) {
        let Ok(Json::Object(mut parts)) = serde_json::to_value(self) else {
            unreachable!("an event is an object with a kind and a body: it holds no map with keys that are not strings")
        };
        let kind = parts.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        (kind, parts.remove("body").unwrap_or(Json::Null))
    }

    /// The event of these stored parts.
    pub fn from_parts(kind: &str, body: &Json) -> Result<Self, UnreadableEvent> {
        let parts = serde_json::json!({ "kind": kind, "body": body });
        serde_json::from_value(parts)
            .map_err(|error| UnreadableEvent { kind: kind.to_owned(), reason: error.to_string() })
    }
}
