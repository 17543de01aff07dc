//! Definitions as the engine runs them: processes and flows, checked and with their expressions parsed.
//!
//! What people write is in `source`; `check` turns it into what is here, or into complaints with line and column.
//! `docs/definitions.md` describes the format.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Json,
    delegation::NewDelegation,
    directory,
    expression::{Expression, Type},
    process_test::ProcessTest,
    state::RetryPolicy,
    trigger::Trigger,
};

mod check;
mod complaint;
mod documents;
mod duration;
mod moments;
mod schema;
mod screen;
mod source;
mod suggest;
mod yaml;

pub use check::{
    ANSWERS_MAX, API_VERSION, ASSIGN_RULES_MAX, ATTEMPTS_MAX, BACKOFF_MAX, BUSINESS_DAYS_MAX, DESCRIPTION_CHARS_MAX,
    DISTINCT_FROM_MAX, Everything, HOLIDAYS_MAX, INPUT_FIELDS_MAX, INTERVALS_MAX, Known, MANAGER_LEVELS_MAX,
    MOMENTS_MAX, NAME_CHARS_MAX, NON_RETRYABLE_MAX, Named, RECORD_PATHS_MAX, REMINDERS_MAX, ROUTES_MAX,
    SCREEN_FIELDS_MAX, SCREENS_MAX, SCRIPT_LINES_MAX, SEND_BACK_STAGES_MAX, SHOWN_MAX, STAGES_MAX, STEPS_MAX,
    SYNC_TIMEOUT_MS_MAX, TESTS_MAX, TITLE_CHARS_MAX, kind_of, read_calendar, read_directory, read_flow, read_process,
    scope, summary_scope,
};
pub use complaint::{COMPLAINTS_MAX, Complaint, Severity};
pub use documents::{Document, documents};
pub use duration::DURATION_DAYS_MAX;
pub use moments::{Escalation, Expiry, ExpiryOutcome, Lapse, Moment, Reminder};
pub use schema::{PATTERN_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX, SCHEMA_PATTERNS_MAX};
pub use screen::{Page, PageFields, Shown, violations as screen_violations};
pub use yaml::{DEFINITION_DEPTH_MAX, DEFINITION_NODES_MAX, DEFINITION_REPEATED_MAX};

/// How long the text of a definition is. As much as a body on the queue, so that whatever passes on a definition can
/// carry it; the largest that people write have a tenth of it.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;

/// The kinds of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Process`].
    ApprovalProcess,
    /// A [`Flow`].
    Flow,
    /// A [`Calendar`](crate::calendar::Calendar).
    Calendar,
    /// A [`DirectoryDocument`].
    Directory,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::ApprovalProcess, Self::Flow, Self::Calendar, Self::Directory];

    /// The kind as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalProcess => "ApprovalProcess",
            Self::Flow => "Flow",
            Self::Calendar => "Calendar",
            Self::Directory => "Directory",
        }
    }
}

/// A process version, ready to run.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// For people.
    pub title: String,
    /// One line for inbox and mail.
    pub summary: Option<Expression>,
    /// What it takes.
    pub record: RecordType,
    /// Which changes of a record submit it by themselves; `None`: it is submitted by whoever asks.
    pub trigger: Option<Trigger>,
    /// In written order; fault stages among them. At least one.
    pub stages: Vec<Stage>,
    /// What a rejection does.
    pub on_rejection: OnRejection,
    /// What runs before a rejected submission ends. Background steps.
    pub rejection_path: Vec<Step>,
    /// What runs before a recalled submission ends. Background steps.
    pub recall_path: Vec<Step>,
    /// What runs before a canceled submission ends. Background steps.
    pub cancel_path: Vec<Step>,
    /// What it claims of itself.
    pub tests: Vec<ProcessTest>,
}

/// What a process takes for a record.
#[derive(Clone, Debug)]
pub struct RecordType {
    /// The type's name.
    pub name: String,
    /// The compiled JSON Schema of the data.
    pub schema: Option<Arc<Schema>>,
    /// The type of `record` in expressions.
    pub expression_type: Type,
    /// What a change of it does to a submission in progress.
    pub on_change: OnChange,
}

/// What a change of the record does to a submission in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// It is not taken: the submission goes on with the copy that was submitted.
    #[default]
    Deny,
    /// The decisions of the steps that depend on what has changed no longer count.
    DismissAffected,
    /// No earlier decision counts any more.
    DismissAll,
    /// It is taken, and every decision stands.
    Keep,
}

/// A place in the data of a record: names of fields, one within the other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecordPath(pub Vec<String>);

impl RecordPath {
    /// What is there; `None` when there is nothing of the kind.
    pub fn value<'d>(&self, data: &'d Json) -> Option<&'d Json> {
        self.0.iter().try_fold(data, |value, name| value.get(name))
    }

    /// Whether what is there is not the same in both.
    pub fn differs(&self, before: &Json, after: &Json) -> bool {
        self.value(before) != self.value(after)
    }
}

impl std::fmt::Display for RecordPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// A group of steps.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Unique in the process.
    pub name: String,
    /// In written order. At least one.
    pub steps: Vec<Step>,
    /// When it is completed.
    pub exit: StageExit,
    /// The fault stage to run when it meets an error.
    pub on_error: Option<String>,
    /// Whether it only runs as a fault path.
    pub fault_path: bool,
    /// Where to go from it: the first rule whose condition holds. The last has no condition.
    pub next: Vec<Route>,
}

/// When a stage is completed.
#[derive(Clone, Debug)]
pub enum StageExit {
    /// All its steps are completed.
    AllCompleted,
    /// An expression is true.
    When(Expression),
    /// An evaluation flow answers that it is.
    Evaluation(EvaluationFlow),
}

/// A flow that answers a condition.
#[derive(Clone, Debug)]
pub struct EvaluationFlow {
    /// The flow's name.
    pub flow: String,
    /// The flow's input: an expression a field.
    pub input: BTreeMap<String, Expression>,
    /// Retries and bounds.
    pub retry: RetryPolicy,
}

/// A rule of routing.
#[derive(Clone, Debug)]
pub struct Route {
    /// `None`: always.
    pub when: Option<Expression>,
    /// Where to.
    pub to: Target,
}

/// Where routing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a stage of the process, by its index.
    Stage(usize),
    /// To the end; `None`: Rejected when the latest run of an approval step was rejected, else Approved.
    End(Option<Outcome>),
}

/// How a submission ends, where the definition says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// In error: an administrator looks at it.
    Error,
}

/// A step of a stage or a path.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique in the process.
    pub name: String,
    /// When it starts.
    pub start: StepStart,
    /// What it does.
    pub kind: StepKind,
}

/// A step's entry condition.
#[derive(Clone, Debug)]
pub enum StepStart {
    /// The stage starts.
    StageStarts,
    /// These steps of the same stage are completed.
    After(Vec<String>),
    /// An expression is true.
    When(Expression),
    /// An evaluation flow answers that it does.
    Evaluation(EvaluationFlow),
}

/// What a step does.
#[allow(clippy::large_enum_variant, reason = "a process has some hundred steps at most, and they are read, not moved")]
#[derive(Clone, Debug)]
pub enum StepKind {
    /// It asks people.
    Approval(ApprovalStep),
    /// It runs a flow.
    Background(BackgroundStep),
}

/// A step that asks people.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own in a definition, and stands for itself")]
pub struct ApprovalStep {
    /// Whom. At least one.
    pub assign: Vec<AssignRule>,
    /// How decisions add up.
    pub decision: DecisionRule,
    /// Whose rejection settles the step at once.
    pub veto_by: Vec<UserOrGroup>,
    /// Whether those who are asked may abstain.
    pub abstain: bool,
    /// When it is completed.
    pub exit: StepExit,
    /// What follows when nobody can be asked.
    pub on_no_approvers: OnNoApprovers,
    /// Steps whose deciders may not decide here.
    pub distinct_from: Vec<String>,
    /// Whether the submitter, and whoever they acted for, may decide here.
    pub allow_submitter: bool,
    /// What of the record its decisions depend on; `None`: on all of it.
    pub depends_on: Option<Vec<RecordPath>>,
    /// Whether those whom it asks may change the record while it is in progress.
    pub allow_reviewer_edit: bool,
    /// Whether it locks the record while it is in progress.
    pub lock: bool,
    /// Whether those who are asked may have somebody else asked; administrators always may.
    pub allow_reassign: bool,
    /// How long a claim of a shared work item holds, in milliseconds; `None`: until it is released.
    pub claim_limit: Option<u64>,
    /// The earlier stages that those who are asked may send the submission back to; administrators may to any.
    pub send_back_to: Vec<String>,
    /// The calendar that business time is counted in; its version that is active when the step starts.
    pub calendar: Option<String>,
    /// After how long it is due.
    pub due: Option<Lapse>,
    /// When those who have not decided are reminded.
    pub remind: Vec<Reminder>,
    /// When others are asked as well, or instead.
    pub escalate: Vec<Escalation>,
    /// When and how it ends where nobody has decided in time.
    pub expire: Option<Expiry>,
    /// The fields of the record that have to be what they were for an approval of the submission that this one was resubmitted
    /// from to count again; `None`: it never does.
    pub reuse_when_unchanged: Option<Vec<RecordPath>>,
    /// The screen flow that helps its reviewers; its version that is active when the step starts.
    pub screen: Option<String>,
}

/// When an approval step is completed.
#[derive(Clone, Debug)]
pub enum StepExit {
    /// Its decision rule is settled.
    Settled,
    /// An expression is true.
    When(Expression),
    /// An evaluation flow answers that it is.
    Evaluation(EvaluationFlow),
}

/// A rule that names whom to ask.
#[derive(Clone, Debug)]
pub struct AssignRule {
    /// Whom.
    pub whom: Whom,
    /// What the vote of each of them weighs, from 1. Of several rules that name a person the heaviest counts.
    pub weight: u32,
}

/// Whom a rule names.
#[derive(Clone, Debug)]
pub enum Whom {
    /// A user.
    User(String),
    /// A group, one work item for all of it.
    Group(String),
    /// A queue, one work item for all of it.
    Queue(String),
    /// The manager of the user that an expression gives.
    ManagerOf {
        /// Gives a user's name.
        user: Expression,
        /// How many levels up, from 1.
        levels: u32,
    },
    /// The managers of those who are asked and have not decided; only to escalate to.
    ManagerOfAssignee {
        /// How many levels up, from 1.
        levels: u32,
    },
    /// Those whom an expression names: a text or a list of texts, each such as `bob`, `user:bob`, `group:finance` or
    /// `queue:intake`.
    Expression(Expression),
    /// The users whom the submitter chose for this step; at most one rule of a step is this one.
    ChosenBySubmitter {
        /// Whom they could choose from; `None`: from all active users.
        from: Option<Vec<UserOrGroup>>,
    },
}

/// People, by a name of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserOrGroup {
    /// A user.
    User(String),
    /// The members of a group.
    Group(String),
}

/// How the decisions on a step's work items add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionRule {
    /// What approval takes.
    pub approve: Quorum,
    /// What rejection takes.
    pub reject: RejectRule,
}

/// What approval takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// One decision, which settles the step either way; one work item for each assignee named.
    Any,
    /// Everybody. Every person has a work item of their own, as with all that follow.
    All,
    /// So many people, from 1.
    AtLeast(u32),
    /// So many in a hundred of those asked who have not abstained, from 1 to 100: `approved * 100 >= percent * eligible`.
    Percent(u32),
    /// People whose votes weigh so much together, from 1.
    Weight(u32),
}

/// What rejection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectRule {
    /// One person.
    Any,
    /// So many people; with [`Quorum::Weight`], so much weight.
    AtLeast(u32),
    /// As soon as approval has become unreachable.
    Unreachable,
}

/// What follows when nobody can be asked. Never an approval.
#[derive(Clone, Debug)]
pub enum OnNoApprovers {
    /// The step meets an error.
    Error,
    /// The step is rejected.
    Reject,
    /// These are asked; if that fails too, the step meets an error.
    Fallback(Vec<AssignRule>),
}

/// A step that runs a flow.
#[derive(Clone, Debug)]
pub struct BackgroundStep {
    /// The flow's name.
    pub flow: String,
    /// Whether the call that starts it waits.
    pub execution: Execution,
    /// How long it waits, in milliseconds.
    pub sync_timeout: u64,
    /// The flow's input: an expression a field.
    pub input: BTreeMap<String, Expression>,
    /// Retries and bounds.
    pub retry: RetryPolicy,
}

/// Whether the call that made a step start waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It waits for a flow that says it needs no waiting and no calls outside.
    Auto,
    /// It waits.
    Sync,
    /// It returns at once.
    Async,
}

/// What a rejection does to the submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRejection {
    /// The stage completes at once, the rejection path runs, and the submission ends Rejected.
    End,
    /// Later stages still run, and the submission ends Rejected unless a later run of the step is approved.
    Continue,
    /// The stage completes at once and routing goes to this stage, by its index.
    Stage(usize),
}

/// A flow version.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub flow_type: FlowType,
    /// Where its jobs go.
    pub task_queue: String,
    /// Whether it waits or calls outside, as its definition says (it does, where nothing is said): steps with `execution: auto`
    /// are synchronous where it does not.
    pub waits: bool,
    /// The compiled JSON Schema of its input.
    pub input: Option<Arc<Schema>>,
    /// The compiled JSON Schema of its output.
    pub output: Option<Arc<Schema>>,
    /// What a reviewer is shown and asked, where it is of type screen.
    pub screens: Vec<Page>,
    /// Whether its definition holds a workflow, which travels with its jobs and is no matter of the engine's.
    pub is_declarative: bool,
}

/// What a flow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowType {
    /// Runs as a background step.
    Autolaunched,
    /// Helps a reviewer.
    Screen,
    /// Answers a condition.
    Evaluation,
}

impl FlowType {
    /// The type as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Autolaunched => "autolaunched",
            Self::Screen => "screen",
            Self::Evaluation => "evaluation",
        }
    }
}

/// People, as a document names them: a part of a directory or all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryDocument {
    /// In written order.
    pub users: Vec<directory::User>,
    /// In written order.
    pub groups: Vec<directory::Group>,
    /// In written order.
    pub queues: Vec<directory::Queue>,
    /// In written order.
    pub delegations: Vec<NewDelegation>,
}

/// A compiled JSON Schema.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
}

/// A place where data does not meet its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaViolation {
    /// Where in the data: a dotted path, empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// How many violations are told of at once.
const VIOLATIONS_MAX: usize = 20;

impl Schema {
    /// Compiles a schema. References to other documents and references that lead back are refused, and patterns run in
    /// linear time.
    pub fn compile(schema: &Json) -> Result<Self, String> {
        schema::check_bounds(schema)?;
        let validator = jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(schema)
            .map_err(|error| schema::refusal(&error))?;
        Ok(Self { validator })
    }

    /// Where the data does not meet the schema.
    pub fn violations(&self, data: &Json) -> Vec<SchemaViolation> {
        self.validator
            .iter_errors(data)
            .take(VIOLATIONS_MAX)
            .map(|error| SchemaViolation {
                path: error.instance_path().to_string().trim_start_matches('/').replace('/', "."),
                message: error.to_string(),
            })
            .collect()
    }
}

impl Process {
    /// The steps of the path that leads to an ending.
    pub fn path(&self, ending: crate::state::Ending) -> &[Step] {
        match ending {
            crate::state::Ending::Rejected => &self.rejection_path,
            crate::state::Ending::Recalled => &self.recall_path,
            crate::state::Ending::Canceled => &self.cancel_path,
        }
    }

    /// The index of the stage of this name.
    pub fn stage_index(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == name)
    }
}
