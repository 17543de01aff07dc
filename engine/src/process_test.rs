//! Process tests: what a definition claims of itself (DESIGN 3), tried on the rules alone.
//!
//! A test is a submission that is [`decide`](crate::decide::decide)d as any other, with a clock that only the test moves and
//! flows that answer as it says. It needs no server, and a server needs nothing else to try what it is about to publish.

mod action;
mod expectation;
mod report;
mod run;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    Json,
    id::UserName,
    state::{Assignee, FailureReason, Verdict},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
    trigger::ChangeKind,
};

pub use report::{Difference, Failed, TestResult};
pub use run::{DECISIONS_MAX, Surroundings, run_tests};

/// The user who is an administrator in tests.
pub const ADMINISTRATOR: &str = "admin";

/// The service that tells of changes of records in tests, where no other is named.
pub const REPORTER: &str = "records";

/// The reason for which a submission is refused in tests whose change the trigger of the process does not fit.
pub const NOT_TRIGGERED: &str = "NOT_TRIGGERED";

/// When a test begins that does not say so: a Thursday.
pub const START: &str = "2026-01-01T00:00:00Z";

/// A test of a process.
#[derive(Clone, Debug)]
pub struct ProcessTest {
    /// What it claims; unique in the process.
    pub name: String,
    /// The line of the definition on which it begins, from 1.
    pub line: u64,
    /// When it begins.
    pub now: Timestamp,
    /// What begins it.
    pub submit: TestSubmit,
    /// How flows answer, one after the other, by the flow's name; the last answer is given again and again. Never empty.
    pub flows: BTreeMap<String, Vec<Mock>>,
    /// What follows, in order.
    pub script: Vec<Line>,
    /// How it stands in the end, and the line that says so.
    pub expect: Option<(u64, Expectation)>,
}

/// The submission of a test.
#[derive(Clone, Debug)]
pub struct TestSubmit {
    /// The line that says so.
    pub line: u64,
    /// Who submits.
    pub by: UserName,
    /// Whom they act for.
    pub on_behalf_of: Option<UserName>,
    /// The record's data.
    pub record: Json,
    /// What they say.
    pub comment: String,
    /// Whom they choose, by the step's name.
    pub choices: BTreeMap<String, Vec<String>>,
    /// The change of the record that submits it, by the trigger of the process.
    pub on: Option<ChangeKind>,
    /// The reason for which it must be refused.
    pub refused: Option<String>,
}

/// How a flow answers.
#[derive(Clone, Debug)]
pub enum Mock {
    /// It completes.
    Output(Json),
    /// It fails.
    Error {
        /// A short stable name.
        code: String,
        /// For people.
        message: String,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// A worker takes the job, and nothing is heard of it any more.
    Silent,
}

/// A line of a script.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line of the definition, from 1.
    pub line: u64,
    /// What it asks for.
    pub what: LineKind,
}

/// What a line of a script asks for.
#[derive(Clone, Debug)]
pub enum LineKind {
    /// Something is done, and accepted.
    Do(Action),
    /// Something is tried, and refused for this reason.
    Refused(Action, String),
    /// Time passes: milliseconds.
    Advance(u64),
    /// A look at how things stand.
    Expect(Expectation),
}

/// The work item that something is done with: that of a step, and of one whom it asks.
#[derive(Clone, Debug)]
pub struct ItemRef {
    /// The step.
    pub step: RunRef,
    /// Whom the item asks; `None`: whoever acts.
    pub assignee: Option<Assignee>,
}

/// A run of a stage or a step: the latest, or that of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// The name in the definition.
    pub name: String,
    /// The round.
    pub round: Option<u32>,
}

/// Something that somebody does. Where `by` is left out, it is the submitter who updates, recalls, resubmits and answers, and
/// the administrator who does the rest.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of the command of the same name")]
pub enum Action {
    /// A work item is decided.
    Decide { item: ItemRef, by: UserName, verdict: Verdict, comment: String },
    /// A work item is decided with what is filled in on its screen.
    SubmitScreen { item: ItemRef, by: UserName, verdict: Verdict, comment: String, values: Json },
    /// Somebody opens the screen of a work item, which cannot be shown.
    ScreenError { item: ItemRef, by: UserName },
    /// Somebody says something.
    Comment { by: UserName, comment: String },
    /// The record gets other data.
    UpdateRecord { by: Option<UserName>, record: Json, comment: String },
    /// The record has changed where it lives: a service tells of it.
    ReportChange { by: UserName, record: Json },
    /// It is taken back.
    Recall { by: Option<UserName>, comment: String },
    /// It is ended.
    Cancel { by: Option<UserName>, comment: String },
    /// It has ended, and another one takes its place, which the test goes on with.
    Resubmit { by: Option<UserName>, record: Option<Json>, comment: String },
    /// Somebody else is asked.
    Reassign { item: ItemRef, by: UserName, to: Assignee, comment: String },
    /// A shared item is kept for oneself.
    Claim { item: ItemRef, by: UserName },
    /// A claimed item is given back.
    Release { item: ItemRef, by: UserName },
    /// A step is settled.
    Override { step: String, by: Option<UserName>, verdict: Verdict, comment: String },
    /// It goes back to an earlier stage.
    SendBack { item: ItemRef, by: UserName, to: String, comment: String },
    /// The submitter is asked.
    RequestInformation { item: ItemRef, by: UserName, question: String },
    /// The question is answered.
    AnswerInformation { item: ItemRef, by: Option<UserName>, answer: String },
    /// A step in error is tried again.
    RetryStep { step: String, by: Option<UserName> },
    /// A stage in error is looked at again.
    RetryStage { stage: String, by: Option<UserName> },
    /// A step in error is passed over.
    Skip { step: String, by: Option<UserName>, outputs: Json, comment: String },
    /// It goes on with another stage.
    GoTo { stage: String, by: Option<UserName>, comment: String },
    /// It is held.
    Suspend { by: Option<UserName>, comment: String },
    /// It goes on.
    Resume { by: Option<UserName>, comment: String },
}

/// How things are expected to stand. What is empty is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The submission's status.
    pub status: Option<SubmissionStatus>,
    /// Why it is in error.
    pub failure: Option<FailureReason>,
    /// Its round.
    pub round: Option<u32>,
    /// Stages; `None`: never reached.
    pub stages: Vec<(RunRef, Option<StageRunStatus>)>,
    /// Steps. One whose stage was never reached has not started.
    pub steps: Vec<(RunRef, StepRunStatus)>,
    /// Work items.
    pub work_items: Vec<(RunRef, Assignee, WorkItemStatus)>,
    /// Fields of the outputs of steps.
    pub outputs: Vec<(RunRef, Json)>,
    /// Fields of the record.
    pub record: Option<Json>,
}
