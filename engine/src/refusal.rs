//! Refusals: why a command changes nothing. Each has a stable reason and a section in `docs/errors.md`.

use jiff::Timestamp;

use crate::{
    definition::SchemaViolation,
    id::UserName,
    state::{Ending, Verdict},
    status::{SubmissionStatus, WorkItemStatus},
};

/// Why a command is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such submission.
    #[error("there is no such submission")]
    SubmissionNotFound,
    /// There is no such work item.
    #[error("there is no such work item")]
    WorkItemNotFound,
    /// There is no such job, or it has ended.
    #[error("there is no such open job")]
    JobNotFound,
    /// The submission has no run of this step that is in error.
    #[error("step `{step}` is not in error")]
    StepNotInError {
        /// The step's name.
        step: String,
    },
    /// The submission cannot be moved to the version.
    #[error("the submission cannot be moved to version {version}: {}", describe(.problems))]
    MigrationUnfit {
        /// The version.
        version: u32,
        /// What stands against it. At least one.
        problems: Vec<Problem>,
    },
    /// The process has no such stage.
    #[error("the process has no stage `{stage}`: it has {known}")]
    StageUnknown {
        /// What was given.
        stage: String,
        /// The stages that there are.
        known: String,
    },
    /// The submission has no run of this stage that met an error of its own.
    #[error("stage `{stage}` has not met an error of its own: where one of its steps did, retry the step")]
    StageNotInError {
        /// The stage's name.
        stage: String,
    },
    /// The submission has ended.
    #[error("the submission has ended: it is {status}")]
    SubmissionEnded {
        /// How.
        status: SubmissionStatus,
    },
    /// The submission is not in progress.
    #[error("the submission is {status}: it has to be {needed}")]
    SubmissionStatusUnfit {
        /// How it stands.
        status: SubmissionStatus,
        /// How it would have to stand.
        needed: &'static str,
    },
    /// The submission is on its way to its end already.
    #[error("the submission is already on its way to its end: it will be {}", .ending.status())]
    EndingAlready {
        /// Which end.
        ending: Ending,
    },
    /// Somebody was faster.
    #[error("already decided: {} by `{by}` at {at}", .verdict.as_str())]
    AlreadyDecided {
        /// Who.
        by: UserName,
        /// When.
        at: Timestamp,
        /// Which way.
        verdict: Verdict,
    },
    /// The work item was closed without a decision.
    #[error("the work item is no longer open: it is {status}")]
    WorkItemClosed {
        /// How it stands.
        status: WorkItemStatus,
    },
    /// The caller is not asked by this work item.
    #[error("`{actor}` may not decide this work item: it asks {assignee}")]
    NotAssignee {
        /// Who tried.
        actor: UserName,
        /// Whom it asks, as `group:finance`.
        assignee: String,
    },
    /// The caller is named by a delegation in force, and it does not let them decide this.
    #[error("`{actor}` may not decide this work item for `{person}` by delegation `{delegation}`: {why}")]
    DelegationUnfit {
        /// Who tried.
        actor: UserName,
        /// For whom.
        person: UserName,
        /// The delegation's name.
        delegation: String,
        /// What stands against it.
        why: String,
    },
    /// The caller may not decide because of what else they did.
    #[error("`{actor}` may not decide this work item: {why}")]
    SeparationOfDuties {
        /// Who tried.
        actor: UserName,
        /// What stands against it.
        why: String,
    },
    /// The caller is not active, or unknown to the directory.
    #[error("`{actor}` is not an active user of the directory")]
    NotActive {
        /// Who tried.
        actor: UserName,
    },
    /// It takes the submitter or an administrator.
    #[error("`{actor}` may not do this: it takes {needed}")]
    NotPermitted {
        /// Who tried.
        actor: UserName,
        /// Who may.
        needed: &'static str,
    },
    /// The submitter chose somebody whom they cannot choose.
    #[error("{field}: {why}")]
    ChoiceInvalid {
        /// Where in the choices, such as `choices.manager[0]`.
        field: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The submitter has to choose who is asked.
    #[error("choices.{step}: choose who is asked in step `{step}`")]
    ChoiceMissing {
        /// The step.
        step: String,
    },
    /// The step does not let anybody abstain.
    #[error("step `{step}` does not allow an abstention: approve or reject")]
    AbstentionNotAllowed {
        /// The step's name.
        step: String,
    },
    /// The record is not the one that the reviewer saw.
    #[error("the record has changed since it was read: its digest is now {digest}")]
    RecordChanged {
        /// The digest now.
        digest: String,
    },
    /// The process does not take changes of a record in progress.
    #[error("the process does not take changes of its record while it is in progress (`record.on_change: deny`)")]
    RecordChangeDenied,
    /// The submission has gone back, or has reached a stage, as often as it may.
    #[error("the submission has gone back, or has reached the stage, as often as it may: {max} times")]
    RoundsExceeded {
        /// The bound.
        max: u32,
    },
    /// The record is of another type than the process takes.
    #[error("the process takes records of type `{takes}`, not `{given}`")]
    RecordTypeUnfit {
        /// What the process takes.
        takes: String,
        /// What was given.
        given: String,
    },
    /// The record does not meet the process's schema.
    #[error("the record does not meet the schema of the process")]
    RecordInvalid {
        /// Where, and what is wrong there.
        violations: Vec<SchemaViolation>,
    },
    /// The step has no screen flow.
    #[error("step `{step}` has no screen: decide the work item without one")]
    ScreenMissing {
        /// The step's name.
        step: String,
    },
    /// The screen flow of the step cannot be shown.
    #[error("screen flow {flow} cannot be shown: {why}")]
    ScreenFailed {
        /// The flow, and its version.
        flow: String,
        /// Why.
        why: String,
    },
    /// What was filled in does not fit the fields of the step's screens.
    #[error("what was filled in does not fit the screen")]
    ScreenValuesInvalid {
        /// Where, and what is wrong there.
        violations: Vec<SchemaViolation>,
    },
    /// A comment, or another text, is longer than it may be.
    #[error("{field} is longer than {max} bytes")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// The bound in bytes.
        max: usize,
    },
    /// A rejection, an override and a return have to say why, and a comment something.
    #[error("a comment is needed: say why")]
    CommentMissing,
    /// A text that has to say something says nothing.
    #[error("{field} is empty")]
    TextMissing {
        /// Which field.
        field: &'static str,
    },
    /// Somebody keeps the work item for themselves.
    #[error("`{by}` has claimed this work item{}", until_text(.until.as_ref()))]
    ClaimedByAnother {
        /// Who.
        by: UserName,
        /// Until when; `None`: until they release it.
        until: Option<Timestamp>,
    },
    /// The work item asks one person: there is nobody to keep it from.
    #[error("the work item asks {assignee} alone: only what a group or a queue shares can be claimed")]
    NotShared {
        /// Whom it asks.
        assignee: String,
    },
    /// Nobody has claimed the work item.
    #[error("nobody has claimed this work item")]
    NotClaimed,
    /// Whom the work item is to ask cannot be asked.
    #[error("{assignee} cannot be asked: {why}")]
    AssigneeUnfit {
        /// Whom.
        assignee: String,
        /// What stands against it.
        why: String,
    },
    /// The step is none that asks people now.
    #[error("step `{step}` is not an approval step in progress")]
    StepNotInProgress {
        /// The step's name.
        step: String,
    },
    /// The work item has a question that waits for its answer.
    #[error("the question of `{by}` of {at} is not answered yet")]
    QuestionOpen {
        /// Who asked.
        by: UserName,
        /// When.
        at: Timestamp,
    },
    /// The work item has no question that waits for its answer.
    #[error("no question of this work item waits for an answer")]
    NoOpenQuestion,
    /// As many questions were asked on the work item as can be.
    #[error("{max} questions were asked on this work item: decide it, or send it back")]
    QuestionsExhausted {
        /// The bound.
        max: usize,
    },
    /// The submission cannot be sent back to this stage.
    #[error("the submission cannot be sent back to stage `{stage}`: {why}")]
    SendBackUnfit {
        /// The stage.
        stage: String,
        /// What stands against it.
        why: String,
    },
    /// The report is of an attempt that is no longer live, or its token is not the live attempt's.
    #[error("attempt {attempt} of the job is not live, or the token is not its token")]
    AttemptNotLive {
        /// The attempt that the report names.
        attempt: u32,
    },
    /// The submission has as many events as it may have.
    #[error("the submission's history is full: it has {max} events")]
    HistoryFull {
        /// The bound.
        max: u64,
    },
}

/// One of several things that stand against a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which field of the request, or of what it is about: a dotted path.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub why: String,
}

fn describe(problems: &[Problem]) -> String {
    let each: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.why)).collect();
    each.join("; ")
}

impl Refusal {
    /// The stable reason, as callers see it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SubmissionNotFound => "SUBMISSION_NOT_FOUND",
            Self::WorkItemNotFound => "WORK_ITEM_NOT_FOUND",
            Self::JobNotFound => "JOB_NOT_FOUND",
            Self::StepNotInError { .. } => "STEP_NOT_IN_ERROR",
            Self::MigrationUnfit { .. } => "MIGRATION_UNFIT",
            Self::StageUnknown { .. } => "STAGE_UNKNOWN",
            Self::StageNotInError { .. } => "STAGE_NOT_IN_ERROR",
            Self::SubmissionEnded { .. } => "SUBMISSION_ENDED",
            Self::SubmissionStatusUnfit { .. } => "SUBMISSION_STATUS_UNFIT",
            Self::EndingAlready { .. } => "ENDING_ALREADY",
            Self::AlreadyDecided { .. } => "ALREADY_DECIDED",
            Self::WorkItemClosed { .. } => "WORK_ITEM_CLOSED",
            Self::NotAssignee { .. } => "NOT_ASSIGNEE",
            Self::DelegationUnfit { .. } => "DELEGATION_UNFIT",
            Self::SeparationOfDuties { .. } => "SEPARATION_OF_DUTIES",
            Self::NotActive { .. } => "NOT_ACTIVE",
            Self::NotPermitted { .. } => "NOT_PERMITTED",
            Self::ChoiceInvalid { .. } => "CHOICE_INVALID",
            Self::ChoiceMissing { .. } => "CHOICE_MISSING",
            Self::AbstentionNotAllowed { .. } => "ABSTENTION_NOT_ALLOWED",
            Self::RecordChanged { .. } => "RECORD_CHANGED",
            Self::RecordChangeDenied => "RECORD_CHANGE_DENIED",
            Self::RoundsExceeded { .. } => "ROUNDS_EXCEEDED",
            Self::RecordTypeUnfit { .. } => "RECORD_TYPE_UNFIT",
            Self::RecordInvalid { .. } => "RECORD_INVALID",
            Self::ScreenMissing { .. } => "SCREEN_MISSING",
            Self::ScreenFailed { .. } => "SCREEN_FAILED",
            Self::ScreenValuesInvalid { .. } => "SCREEN_VALUES_INVALID",
            Self::TooLong { .. } => "TOO_LONG",
            Self::CommentMissing => "COMMENT_MISSING",
            Self::TextMissing { .. } => "TEXT_MISSING",
            Self::ClaimedByAnother { .. } => "CLAIMED_BY_ANOTHER",
            Self::NotShared { .. } => "NOT_SHARED",
            Self::NotClaimed => "NOT_CLAIMED",
            Self::AssigneeUnfit { .. } => "ASSIGNEE_UNFIT",
            Self::StepNotInProgress { .. } => "STEP_NOT_IN_PROGRESS",
            Self::QuestionOpen { .. } => "QUESTION_OPEN",
            Self::NoOpenQuestion => "NO_OPEN_QUESTION",
            Self::QuestionsExhausted { .. } => "QUESTIONS_EXHAUSTED",
            Self::SendBackUnfit { .. } => "SEND_BACK_UNFIT",
            Self::AttemptNotLive { .. } => "ATTEMPT_NOT_LIVE",
            Self::HistoryFull { .. } => "HISTORY_FULL",
        }
    }
}

fn until_text(until: Option<&Timestamp>) -> String {
    until.map_or_else(String::new, |until| format!(", until {until}"))
}
