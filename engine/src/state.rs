//! The state of one submission: what its events add up to.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Json,
    definition::RecordPath,
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, Token, UserName, WorkItemId},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
    timer::Deadlines,
    trace::TraceParent,
};

/// A submission as its events have left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its id.
    pub id: SubmissionId,
    /// The number of events so far.
    pub version: u64,
    /// The process version it stays on.
    pub process: VersionRef,
    /// What is to be approved.
    pub record: Record,
    /// Who submitted it.
    pub submitter: UserName,
    /// Whom they acted for.
    pub on_behalf_of: Option<UserName>,
    /// What the submitter said.
    pub comment: String,
    /// Whom the submitter chose to be asked, by the step's name: users, in their order.
    pub choices: BTreeMap<String, Vec<String>>,
    /// One line for inbox and mail.
    pub summary: String,
    /// How it stands.
    pub status: SubmissionStatus,
    /// How it will end, while its rejection, recall or cancel path runs.
    pub ending: Option<Ending>,
    /// 1 plus the number of times that routing went back.
    pub round: u32,
    /// In the order in which they started.
    pub stage_runs: Vec<StageRun>,
    /// The stage run that is in progress, suspended or in error: an index into `stage_runs`.
    pub current: Option<usize>,
    /// Why it is in error.
    pub failure: Option<Failure>,
    /// Since when it is suspended.
    pub suspended_at: Option<Timestamp>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What stands of earlier decisions, while the stages that a change of the record has led back to run again.
    pub kept: Option<Kept>,
    /// The last change of the record in its own system that was not taken, until one is.
    pub ignored_change: Option<IgnoredChange>,
    /// The submission that this one takes the place of.
    pub resubmission: Option<Resubmission>,
    /// The trace of the call that began it, where it named one.
    pub traceparent: Option<TraceParent>,
    /// How many events there were that may change what a condition says: what an evaluation was asked on.
    pub changes: u64,
}

/// Decisions that a change of the record does not touch: their steps complete by them when they are reached again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The submission's round in which they stand: when routing goes back for another reason, everybody is asked again.
    pub round: u32,
    /// The step runs, by the step's name.
    pub steps: BTreeMap<String, StepRunId>,
}

/// Earlier decisions that a step completed by, without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// The submission in which people decided: this one, or the one that it was resubmitted from.
    pub submission: SubmissionId,
    /// The step run in which they did.
    pub step_run: StepRunId,
    /// Who they are.
    pub reviewers: Vec<UserName>,
}

/// That a submission takes the place of one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resubmission {
    /// The one before.
    pub of: SubmissionId,
    /// What was approved there and may count again, by the step's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<String, Approved>,
}

impl Resubmission {
    /// Forgets what depends on fields that a change of the record touches.
    pub(crate) fn record_changes(&mut self, before: &Json, after: &Json) {
        self.approvals.retain(|_, approved| !approved.when_unchanged.iter().any(|path| path.differs(before, after)));
    }
}

/// An approval in the submission before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Where, and by whom.
    pub reused: Reused,
    /// What the step returned.
    pub outputs: Arc<Json>,
    /// It counts as long as these fields of the record stay what they are.
    pub when_unchanged: Vec<RecordPath>,
}

/// A change of the record in its own system that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredChange {
    /// The digest of the data there.
    pub digest: String,
    /// The reason of the refusal.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// When it was told of.
    pub at: Timestamp,
}

/// A version of a process or a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionRef {
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: u32,
}

/// What is to be approved: the copy that was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The type that the process declares.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Its id in the user's system.
    pub id: String,
    /// From 1; one more with each change.
    pub version: u32,
    /// SHA-256 over the data, in hexadecimal.
    pub digest: String,
    /// The data: an object.
    pub data: Arc<Json>,
    /// The number of the last change that was taken from the system it lives in, where that system counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<u64>,
}

/// Why something is in error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable reason.
    pub reason: FailureReason,
    /// For people: what failed, on which values.
    pub message: String,
}

/// Why a step, a stage or a submission is in error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureReason {
    /// A flow failed, after its retries.
    FlowFailed,
    /// A flow took longer than it may, in all its attempts.
    Timeout,
    /// The input of a flow does not meet its schema, or is too large.
    InputInvalid,
    /// There is no active version of a flow.
    FlowNotActive,
    /// An expression could not be evaluated.
    ExpressionFailed,
    /// Nobody could be found who may decide.
    NoApprovers,
    /// Nothing is in progress, nothing is awaited, and the stage's exit does not hold.
    Stalled,
    /// Routing went back more often than it may.
    RoundsExceeded,
    /// A fault path ended with the outcome ERROR.
    FaultPath,
    /// Nobody decided in time, and the process says that this is an error.
    Expired,
    /// There is no active version of a calendar, or it does not open long enough.
    CalendarUnfit,
    /// The screen flow of an approval step could not be shown.
    ScreenFailed,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::FlowFailed,
        Self::Timeout,
        Self::InputInvalid,
        Self::FlowNotActive,
        Self::ExpressionFailed,
        Self::NoApprovers,
        Self::Stalled,
        Self::RoundsExceeded,
        Self::FaultPath,
        Self::Expired,
        Self::CalendarUnfit,
        Self::ScreenFailed,
    ];

    /// The reason as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlowFailed => "FLOW_FAILED",
            Self::Timeout => "TIMEOUT",
            Self::InputInvalid => "INPUT_INVALID",
            Self::FlowNotActive => "FLOW_NOT_ACTIVE",
            Self::ExpressionFailed => "EXPRESSION_FAILED",
            Self::NoApprovers => "NO_APPROVERS",
            Self::Stalled => "STALLED",
            Self::RoundsExceeded => "ROUNDS_EXCEEDED",
            Self::FaultPath => "FAULT_PATH",
            Self::Expired => "EXPIRED",
            Self::CalendarUnfit => "CALENDAR_UNFIT",
            Self::ScreenFailed => "SCREEN_FAILED",
        }
    }
}

/// How a submission will end, while the path for it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Ending {
    /// By a rejection.
    Rejected,
    /// By its submitter.
    Recalled,
    /// By an administrator.
    Canceled,
}

impl Ending {
    /// The status it ends in.
    pub const fn status(self) -> SubmissionStatus {
        match self {
            Self::Rejected => SubmissionStatus::Rejected,
            Self::Recalled => SubmissionStatus::Recalled,
            Self::Canceled => SubmissionStatus::Canceled,
        }
    }

    /// The name of the stage that runs its path.
    pub const fn stage_name(self) -> &'static str {
        match self {
            Self::Rejected => "rejection",
            Self::Recalled => "recall",
            Self::Canceled => "cancel",
        }
    }
}

/// The execution of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRun {
    /// Its id.
    pub id: StageRunId,
    /// The stage's name; `rejection`, `recall` or `cancel` for such a path.
    pub name: String,
    /// The path it is, when it is none of the process's own stages.
    pub ending: Option<Ending>,
    /// From 1: how often this stage has been visited.
    pub round: u32,
    /// How it stands.
    pub status: StageRunStatus,
    /// Whether a condition of it reads `now`.
    pub awaits_time: bool,
    /// Why it is in error.
    pub failure: Option<Failure>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its steps, in written order.
    pub steps: Vec<StepRun>,
    /// How it was ended, where somebody sent the submission back.
    pub sent_back: Option<SentBack>,
    /// The evaluation of its exit condition, where a flow is asked for it.
    pub exit: Option<Box<Evaluation>>,
}

/// That somebody sent the submission back to an earlier stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentBack {
    /// The stage's name.
    pub to: String,
    /// Who.
    pub by: UserName,
    /// Why.
    pub comment: String,
}

/// The execution of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRun {
    /// Its id.
    pub id: StepRunId,
    /// The step's name.
    pub name: String,
    /// The round of its stage run.
    pub round: u32,
    /// How it stands.
    pub status: StepRunStatus,
    /// Why it is in error.
    pub failure: Option<Failure>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it returned, once it has completed.
    pub outputs: Option<Arc<Json>>,
    /// How an approval step was settled.
    pub settled: Option<Verdict>,
    /// The earlier decisions that it completed by, where nobody was asked.
    pub reused: Option<Reused>,
    /// A background step's job; the last one, when it was retried by an administrator.
    pub job: Option<Job>,
    /// An approval step's requests, in the order of their assignment.
    pub work_items: Vec<WorkItem>,
    /// An approval step's moments.
    pub deadlines: Deadlines,
    /// How it locks the record while it is in progress, where it does.
    pub lock: Option<StepLock>,
    /// Whether its due date has passed.
    pub overdue: bool,
    /// How an administrator settled an approval step over the heads of those who were asked.
    pub overridden: Option<Overridden>,
    /// How many of its reminders are over.
    pub reminded: u32,
    /// How many of its escalations are over.
    pub escalated: u32,
    /// The evaluation of its entry condition, where a flow is asked for it.
    pub entry: Option<Box<Evaluation>>,
    /// The evaluation of its exit condition, where a flow is asked for it.
    pub exit: Option<Box<Evaluation>>,
    /// The version of its screen flow that an approval step is bound to.
    pub screen: Option<VersionRef>,
}

/// How a step locks the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLock {
    /// Whether those whom it asks may change the record all the same.
    pub allow_reviewer_edit: bool,
}

/// A condition that an evaluation flow may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "of", content = "run", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Condition {
    /// Whether a stage is completed.
    StageExit(StageRunId),
    /// Whether a step starts.
    StepEntry(StepRunId),
    /// Whether an approval step is completed.
    StepExit(StepRunId),
}

impl Condition {
    /// What it is of, as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StageExit(_) => "STAGE_EXIT",
            Self::StepEntry(_) => "STEP_ENTRY",
            Self::StepExit(_) => "STEP_EXIT",
        }
    }
}

/// What an evaluation flow was last asked about a condition, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The job; a new one each time that it is asked.
    pub job: Job,
    /// How many changes the submission had seen when it was asked: with more of them, the answer is stale.
    pub asked_on: u64,
    /// The answer. None while it is awaited, and where it was stale or never came.
    pub met: Option<bool>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
}

/// That an administrator settled a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// How.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
}

/// How someone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// For it.
    Approve,
    /// Against it.
    Reject,
    /// Neither, where that is allowed.
    Abstain,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Reject, Self::Abstain];

    /// The verdict as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "APPROVE",
            Self::Reject => "REJECT",
            Self::Abstain => "ABSTAIN",
        }
    }
}

/// Whom a work item asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Assignee {
    /// One person.
    User(String),
    /// The members of a group; one of them decides for it.
    Group(String),
    /// The members of a queue; one of them decides for it.
    Queue(String),
}

impl Assignee {
    /// `user`, `group` or `queue`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::Queue(_) => "queue",
        }
    }

    /// The name in the directory.
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Group(name) | Self::Queue(name) => name,
        }
    }

    /// The assignee of this kind and name.
    pub fn from_parts(kind: &str, name: &str) -> Option<Self> {
        let name = name.to_owned();
        match kind {
            "user" => Some(Self::User(name)),
            "group" => Some(Self::Group(name)),
            "queue" => Some(Self::Queue(name)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Assignee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

/// One request to one assignee.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkItem {
    /// Its id.
    pub id: WorkItemId,
    /// Whom it asks.
    pub assignee: Assignee,
    /// Why whoever it asked first: the rule, and what it was resolved from.
    pub reason: String,
    /// What a decision on it weighs: 1, unless the decision rule asks for weight.
    pub weight: u32,
    /// Whether a rejection of it settles the step at once.
    pub veto: bool,
    /// Whether others are asked instead: it does not count among those who are asked.
    pub replaced: bool,
    /// How it stands.
    pub status: WorkItemStatus,
    /// When it was assigned.
    pub assigned_at: Timestamp,
    /// When it was decided or closed.
    pub closed_at: Option<Timestamp>,
    /// What was decided on it.
    pub decision: Option<Decision>,
    /// Who keeps it for themselves, of those who share it. Open items only.
    pub claim: Option<Claim>,
    /// The last time that it came to ask somebody else.
    pub reassigned: Option<Reassigned>,
    /// What the submitter was asked on it, oldest first. Only the last can be open.
    pub questions: Vec<Question>,
}

/// That one of those who share a work item keeps it for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub by: UserName,
    /// Until when; `None`: until they release it.
    pub until: Option<Timestamp>,
}

impl Claim {
    /// Whether it still holds. It ends by its time, also before anybody has noticed.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// That a work item came to ask somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassigned {
    /// Whom it asked before.
    pub from: Assignee,
    /// Who saw to it.
    pub by: UserName,
    /// Why.
    pub comment: String,
}

/// What somebody who is asked to decide wants to know from the submitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asked.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
    /// What was answered.
    pub answer: Option<QuestionAnswer>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionAnswer {
    /// Who answered.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

impl WorkItem {
    /// Whether it still asks.
    pub fn is_open(&self) -> bool {
        self.status == WorkItemStatus::Assigned
    }

    /// Why it asks whom it asks: the rule that named the first, and how it came to the present one.
    pub fn why(&self) -> String {
        match &self.reassigned {
            None => self.reason.clone(),
            Some(Reassigned { from, by, comment }) if comment.is_empty() => {
                format!("{}; reassigned from {from} by {by}", self.reason)
            }
            Some(Reassigned { from, by, comment }) => {
                format!("{}; reassigned from {from} by {by}: {comment}", self.reason)
            }
        }
    }

    /// The question that waits for its answer.
    pub fn open_question(&self) -> Option<&Question> {
        self.questions.last().filter(|question| question.answer.is_none() && self.is_open())
    }
}

/// Approve, reject or abstain, by one person, on one work item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Which way.
    pub verdict: Verdict,
    /// Who decided.
    pub actor: UserName,
    /// For whom, where it was for somebody else: the assignee, or a member of the group or queue that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<UserName>,
    /// The name of the delegation that let them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    /// What they said.
    pub comment: String,
    /// The way it came: `API`, `CLI`, …
    pub channel: String,
    /// The digest of the record that the reviewer saw.
    pub record_digest: String,
    /// What they filled in on the screens of the step, by the names of the fields: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Arc<Json>>,
}

impl Decision {
    /// Who decided, and for whom. Both have had their say by it.
    pub fn deciders(&self) -> impl Iterator<Item = &UserName> {
        std::iter::once(&self.actor).chain(&self.on_behalf_of)
    }

    /// Whether it is this person's vote: they cast it, or it was cast for them.
    pub fn is_of(&self, person: &str) -> bool {
        self.deciders().any(|decider| decider.as_str() == person)
    }
}

/// One background step run, or one evaluation, to be carried out by a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id: the same in every attempt.
    pub id: JobId,
    /// What it runs, with what.
    pub spec: Arc<JobSpec>,
    /// `Pending`, `Running`, `Completed`, `Failed` or `Canceled`: that it was published is not an event.
    pub status: JobStatus,
    /// From 1.
    pub attempt: u32,
    /// How many attempts there were before an administrator retried the step: they no longer count.
    pub attempts_before: u32,
    /// How many of the attempts since then their workers gave up because they were stopped: they do not count either.
    pub stops: u32,
    /// What makes a report on this attempt count.
    pub token: Token,
    /// When this attempt may be published.
    pub available_at: Timestamp,
    /// When a worker said that it started this attempt.
    pub started_at: Option<Timestamp>,
    /// When the first attempt was scheduled: all attempts together are counted from here.
    pub scheduled_at: Timestamp,
}

/// What a job runs, with what, and within which bounds: fixed when its step starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// `AUTOLAUNCHED` or `EVALUATION`.
    pub kind: JobKind,
    /// The flow version that was active when the step started, or when the condition was asked about.
    pub flow: VersionRef,
    /// Where it is sent.
    pub task_queue: String,
    /// The flow's input: an object.
    pub input: Json,
    /// Whether the call that started it waits for it, and how long.
    pub execution: JobExecution,
    /// Retries and bounds.
    pub retry: RetryPolicy,
    /// The trace that it belongs to: the submission's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

/// What a job carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobKind {
    /// A background step's flow.
    Autolaunched,
    /// A condition's flow.
    Evaluation,
}

impl JobKind {
    /// The kind as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Autolaunched => "AUTOLAUNCHED",
            Self::Evaluation => "EVALUATION",
        }
    }
}

/// Whether the call that made a step start waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobExecution {
    /// It returns at once.
    Async,
    /// It waits this long, in milliseconds.
    Sync(u64),
}

/// Retries and bounds of a job. All durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How many attempts there are at most.
    pub max_attempts: u32,
    /// The wait before the second attempt.
    pub initial_interval: u64,
    /// How much longer each further wait is.
    pub backoff: f64,
    /// The longest wait.
    pub max_interval: u64,
    /// Which share of a wait is left to chance, from 0 to 1, so that what failed together does not return together.
    pub jitter: f64,
    /// Codes that no further attempt can mend.
    pub non_retryable: Vec<String>,
    /// How long one attempt may take, from the moment a worker says that it started.
    pub timeout: u64,
    /// How long all attempts together may take, waiting included.
    pub total_timeout: Option<u64>,
    /// How long a started attempt may be silent.
    pub heartbeat_timeout: Option<u64>,
}

impl Submission {
    /// The stage run that is in progress, suspended or in error.
    pub fn current_stage(&self) -> Option<&StageRun> {
        self.current.and_then(|index| self.stage_runs.get(index))
    }

    /// The step run with this id, and the stage run it belongs to.
    pub fn step_run(&self, id: StepRunId) -> Option<(&StageRun, &StepRun)> {
        self.stage_runs.iter().rev().find_map(|stage| Some((stage, stage.steps.iter().find(|step| step.id == id)?)))
    }

    /// The work item with this id, with its step run and stage run.
    pub fn work_item(&self, id: WorkItemId) -> Option<(&StageRun, &StepRun, &WorkItem)> {
        self.stage_runs.iter().rev().find_map(|stage| {
            stage
                .steps
                .iter()
                .find_map(|step| step.work_items.iter().find(|item| item.id == id).map(|item| (stage, step, item)))
        })
    }

    /// The job with this id, and what it belongs to.
    pub fn job(&self, id: JobId) -> Option<PlacedJob<'_>> {
        self.stage_runs.iter().rev().flat_map(StageRun::jobs).find(|placed| placed.job.id == id)
    }

    /// Every job: those of background steps, and the latest one of each condition that a flow is asked about.
    pub fn jobs(&self) -> impl Iterator<Item = PlacedJob<'_>> {
        self.stage_runs.iter().flat_map(StageRun::jobs)
    }

    /// What a flow was last asked about a condition.
    pub fn evaluation(&self, condition: Condition) -> Option<&Evaluation> {
        match condition {
            Condition::StageExit(id) => {
                self.stage_runs.iter().rev().find(|stage| stage.id == id).and_then(|stage| stage.exit.as_deref())
            }
            Condition::StepEntry(id) => self.step_run(id).and_then(|(_, step)| step.entry.as_deref()),
            Condition::StepExit(id) => self.step_run(id).and_then(|(_, step)| step.exit.as_deref()),
        }
    }

    /// The latest run of each step, by the step's name.
    pub fn latest_steps(&self) -> BTreeMap<&str, &StepRun> {
        self.stage_runs.iter().flat_map(|stage| &stage.steps).map(|step| (step.name.as_str(), step)).collect()
    }

    /// The steps that lock the record as things stand. A lock goes with its step, whichever way that ends; a submission that is
    /// suspended keeps its locks, and one in error has none.
    pub fn locks(&self) -> impl Iterator<Item = (&StageRun, &StepRun, StepLock)> {
        let steps = self.stage_runs.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)));
        let in_progress = steps.filter(|(_, step)| step.status == StepRunStatus::InProgress);
        in_progress.filter_map(|(stage, step)| Some((stage, step, step.lock?)))
    }

    /// Whether the attempt of a job is held: it was not due when the submission was suspended, and is not published before that
    /// ends. What had been published by then is out, and its result counts.
    pub fn holds(&self, job: &Job) -> bool {
        self.suspended_at.is_some_and(|since| job.status == JobStatus::Pending && job.available_at > since)
    }

    /// How long, in milliseconds, a call has to wait for synchronous steps that are in progress; `None` when there are none, or
    /// when the submission is suspended, which may take days.
    pub fn sync_wait(&self) -> Option<u64> {
        if self.suspended_at.is_some() {
            return None;
        }
        self.current_stage()?
            .steps
            .iter()
            .filter(|step| step.status == StepRunStatus::InProgress)
            .filter_map(|step| match step.job.as_ref()?.spec.execution {
                JobExecution::Sync(wait) => Some(wait),
                JobExecution::Async => None,
            })
            .max()
    }
}

impl Job {
    /// How many attempts count, the live one included.
    pub fn attempts_made(&self) -> u32 {
        self.attempt - self.attempts_before - self.stops
    }

    /// Whether a report on it can still count.
    pub fn is_live(&self) -> bool {
        matches!(self.status, JobStatus::Pending | JobStatus::Published | JobStatus::Running)
    }
}

impl StepRun {
    /// Who has decided in it, by an override as well, or in the one whose decisions it completed by: also those for whom somebody
    /// decided.
    pub fn deciders(&self) -> impl Iterator<Item = &UserName> {
        let own = self.work_items.iter().filter_map(|item| item.decision.as_ref()).flat_map(Decision::deciders);
        let overridden = self.overridden.iter().map(|overridden| &overridden.decision.actor);
        own.chain(overridden).chain(self.reused.iter().flat_map(|reused| &reused.reviewers))
    }
}

impl Evaluation {
    /// Whether an answer is awaited.
    pub fn is_awaited(&self) -> bool {
        self.job.is_live()
    }
}

/// A job, with what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct PlacedJob<'a> {
    /// The stage run.
    pub stage: &'a StageRun,
    /// The step run; none for a stage's exit condition.
    pub step: Option<&'a StepRun>,
    /// The condition that it evaluates; none for a background step's flow.
    pub condition: Option<Condition>,
    /// The job.
    pub job: &'a Job,
}

impl StageRun {
    /// Its jobs: of its background steps, and of the conditions that a flow is asked about.
    pub fn jobs(&self) -> impl Iterator<Item = PlacedJob<'_>> {
        let exit = self.exit.iter().map(|exit| (None, Some(Condition::StageExit(self.id)), &exit.job));
        let steps = self.steps.iter().flat_map(|step| {
            let own = step.job.iter().map(|job| (None, job));
            let entry = step.entry.iter().map(|entry| (Some(Condition::StepEntry(step.id)), &entry.job));
            let exit = step.exit.iter().map(|exit| (Some(Condition::StepExit(step.id)), &exit.job));
            own.chain(entry).chain(exit).map(move |(condition, job)| (Some(step), condition, job))
        });
        exit.chain(steps).map(|(step, condition, job)| PlacedJob { stage: self, step, condition, job })
    }

    /// The step run of this name.
    pub fn step(&self, name: &str) -> Option<&StepRun> {
        self.steps.iter().find(|step| step.name == name)
    }
}
