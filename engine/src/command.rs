//! Commands: what can be asked of a submission.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    Json,
    definition::Process,
    event::EmittedEvent,
    id::{JobId, SubmissionId, Tenant, Token, UserName, WorkItemId},
    state::{Assignee, Submission, Verdict, VersionRef},
    trace::TraceParent,
};

/// What is asked of one submission.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin it.
    Submit(Box<Submit>),
    /// Decide a work item.
    Decide(Decide),
    /// Decide a work item on its screen.
    SubmitScreen(SubmitScreen),
    /// Tell that the screen of a work item cannot be shown.
    ReportScreenFailure {
        /// Which.
        work_item: WorkItemId,
        /// Whom it could not be shown to.
        by: Actor,
    },
    /// Take it back.
    Recall {
        /// Who asks.
        by: Actor,
        /// Why.
        comment: String,
    },
    /// End it.
    Cancel {
        /// Who asks.
        by: Actor,
        /// Why.
        comment: String,
    },
    /// Say something.
    Comment {
        /// Who says it.
        by: Actor,
        /// What.
        comment: String,
    },
    /// Start a new attempt of a step in error.
    RetryStep {
        /// Who asks.
        by: Actor,
        /// The step's name.
        step: String,
    },
    /// Look again at a stage that met an error of its own: its exit condition, its routing, or that it could never end.
    RetryStage {
        /// Who asks.
        by: Actor,
        /// The stage's name.
        stage: String,
    },
    /// Complete a step in error with stated outputs.
    SkipStep {
        /// Who asks.
        by: Actor,
        /// The step's name.
        step: String,
        /// What to take for its outputs: an object.
        outputs: Json,
        /// Why.
        comment: String,
    },
    /// Give the record other data.
    UpdateRecord(Box<UpdateRecord>),
    /// Hold it: what is out may come back, and nothing starts until it is resumed.
    Suspend {
        /// Who asks.
        by: Actor,
        /// Why.
        comment: String,
    },
    /// Let a suspended one go on.
    Resume {
        /// Who asks.
        by: Actor,
        /// Why.
        comment: String,
    },
    /// Leave the stage it is in, and go on with another.
    GoToStage {
        /// Who asks.
        by: Actor,
        /// The stage's name.
        stage: String,
        /// Why.
        comment: String,
    },
    /// Keep a work item that several share for oneself.
    Claim {
        /// Which.
        work_item: WorkItemId,
        /// Who asks.
        by: Actor,
    },
    /// Give a claimed work item back to those who share it.
    Release {
        /// Which.
        work_item: WorkItemId,
        /// Who asks.
        by: Actor,
    },
    /// Have somebody else asked by a work item.
    Reassign {
        /// Which.
        work_item: WorkItemId,
        /// Who asks.
        by: Actor,
        /// Whom it is to ask.
        to: Assignee,
        /// Why.
        comment: String,
    },
    /// Settle a step in progress, whatever those who were asked have said.
    Override(Override),
    /// Ask the submitter something.
    RequestInformation {
        /// The work item that it is about.
        work_item: WorkItemId,
        /// Who asks.
        by: Actor,
        /// What.
        question: String,
    },
    /// Answer the open question of a work item.
    AnswerInformation {
        /// Which.
        work_item: WorkItemId,
        /// Who answers.
        by: Actor,
        /// What.
        answer: String,
    },
    /// Go back to an earlier stage, in a new round.
    SendBack {
        /// The work item of whoever asks, or any of the stage where an administrator does.
        work_item: WorkItemId,
        /// Who asks.
        by: Actor,
        /// The stage's name.
        to: String,
        /// Why.
        comment: String,
    },
    /// Move it to another version of its process.
    Migrate(Box<Migrate>),
    /// A worker reports on an attempt.
    Report(Report),
    /// A bound of a job may have passed.
    JobOverdue {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// When it was last heard of.
        heartbeat_at: Option<Timestamp>,
    },
    /// Time has passed: look whether a condition holds now.
    Wake,
}

/// Begins a submission.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Whose it is.
    pub tenant: Tenant,
    /// The id of the new submission.
    pub id: SubmissionId,
    /// The process version: the active one.
    pub process: VersionRef,
    /// The type of the record; the process's own when empty.
    pub record_type: String,
    /// The record's id in the user's system.
    pub record_id: String,
    /// The record's data: an object.
    pub data: Arc<Json>,
    /// Who submits it.
    pub submitter: UserName,
    /// Whom they act for.
    pub on_behalf_of: Option<UserName>,
    /// What they say.
    pub comment: String,
    /// Whom they choose to be asked, by the step's name: users.
    pub choices: BTreeMap<String, Vec<String>>,
    /// The number that the record's own system gives to this state of it, where it counts its changes.
    pub source_version: Option<u64>,
    /// Whether the submitter is an administrator.
    pub administrator: bool,
    /// The submission that this one takes the place of: one that has ended, and so never changes again.
    pub before: Option<Arc<Submission>>,
    /// The trace of the call, where it named one.
    pub traceparent: Option<TraceParent>,
}

/// Moves a submission to another version of its process.
#[derive(Clone, Debug)]
pub struct Migrate {
    /// Who asks.
    pub by: Actor,
    /// The version.
    pub to: VersionRef,
    /// Its definition.
    pub process: Arc<Process>,
    /// What stages are called in it, by what they were called; the others keep their names.
    pub stages: BTreeMap<String, String>,
    /// What steps are called in it, by what they were called; the others keep their names.
    pub steps: BTreeMap<String, String>,
    /// Why.
    pub comment: String,
}

/// Decides a work item.
#[derive(Clone, Debug)]
pub struct Decide {
    /// Which.
    pub work_item: WorkItemId,
    /// Who decides.
    pub actor: UserName,
    /// Which way.
    pub verdict: Verdict,
    /// What they say.
    pub comment: String,
    /// The way it came: `API`, `CLI`, …
    pub channel: String,
    /// The digest of the record that they saw.
    pub record_digest: String,
}

/// Decides a work item, with what its screens ask.
#[derive(Clone, Debug)]
pub struct SubmitScreen {
    /// The decision.
    pub decide: Decide,
    /// What was filled in, by the names of the fields: an object.
    pub values: Arc<Json>,
}

/// Gives the record other data.
#[derive(Clone, Debug)]
pub struct UpdateRecord {
    /// Who asks, or who tells of it.
    pub by: Actor,
    /// All of the record's data: an object.
    pub data: Arc<Json>,
    /// Why.
    pub comment: String,
    /// Where the change has happened in the system that the record lives in, and is only told of here.
    pub reported: Option<Reported>,
}

/// A change that has happened in the system that the record lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// That system's own number of the change, where it counts them: an older one is passed over.
    pub source_version: Option<u64>,
}

/// Settles a step in progress over the heads of those who were asked.
#[derive(Clone, Debug)]
pub struct Override {
    /// Which step.
    pub target: OverrideTarget,
    /// Who asks.
    pub by: Actor,
    /// Which way: approve or reject.
    pub verdict: Verdict,
    /// Why.
    pub comment: String,
    /// The digest of the record that they saw.
    pub record_digest: String,
}

/// How the step to override is named.
#[derive(Clone, Debug)]
pub enum OverrideTarget {
    /// By one of its work items.
    WorkItem(WorkItemId),
    /// By its name, in the stage in progress.
    Step(String),
}

/// Who asks, and with which right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Their name.
    pub name: UserName,
    /// Whether they are an administrator.
    pub administrator: bool,
}

/// A worker's report on an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// What makes it count.
    pub token: Token,
    /// What it says.
    pub outcome: ReportOutcome,
}

/// What a flow does to the submission that it works for.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowEffect {
    /// It says something.
    Comment(String),
    /// It changes the record's data, by a merge patch (RFC 7396): an object.
    RecordPatch(Json),
    /// It tells other systems something.
    Emit(EmittedEvent),
}

/// What a worker says of an attempt.
#[derive(Clone, Debug)]
pub enum ReportOutcome {
    /// It has started.
    Started {
        /// Who the worker is.
        worker: String,
    },
    /// It goes on.
    Heartbeat,
    /// The flow completed.
    Completed {
        /// What it returned: an object.
        output: Json,
        /// What it does to its submission besides, in order: applied with the result, all of it or nothing.
        effects: Vec<FlowEffect>,
    },
    /// The flow failed.
    Failed {
        /// A short stable name.
        code: String,
        /// For people.
        message: String,
        /// Whether another attempt may help.
        retryable: bool,
    },
}
