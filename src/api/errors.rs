//! How every refusal and failure is said in gRPC: a code, a stable reason (`google.rpc.ErrorInfo`), and where it helps the
//! fields that are wrong (`BadRequest`) or what would have to be otherwise (`PreconditionFailure`). This is the one place.
//!
//! `docs/errors.md` has a section for each reason.

use std::collections::HashMap;

use quorate_engine::refusal::Refusal;
use quorate_store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    auth::AuthError,
    proto::value::BadData,
    scheduler::{Rejection, ReportError},
};

/// The `domain` of every `ErrorInfo`.
const DOMAIN: &str = "quorate";

/// Every reason that the API can give, in alphabetical order. `docs/errors.md` explains each.
pub const REASONS: &[&str] = &[
    "ABSTENTION_NOT_ALLOWED",
    "ALREADY_DECIDED",
    "ASSIGNEE_UNFIT",
    "ATTEMPT_NOT_LIVE",
    "CATALOG_BUSY",
    "CHOICE_INVALID",
    "CHOICE_MISSING",
    "CLAIMED_BY_ANOTHER",
    "COMMENT_MISSING",
    "DEFINITION_INVALID",
    "DELEGATION_UNFIT",
    "DIRECTORY_INVALID",
    "ENDING_ALREADY",
    "HISTORY_FULL",
    "INTERNAL",
    "INVALID_FIELD",
    "JOB_NOT_FOUND",
    "MIGRATION_UNFIT",
    "NOT_ACTIVE",
    "NOT_ASSIGNEE",
    "NOT_CLAIMED",
    "NOT_FOUND",
    "NOT_PERMITTED",
    "NOT_SHARED",
    "NO_OPEN_QUESTION",
    "OVERLOADED",
    "PROCESS_NOT_ACTIVE",
    "QUESTIONS_EXHAUSTED",
    "QUESTION_OPEN",
    "RECORD_CHANGED",
    "RECORD_CHANGE_DENIED",
    "RECORD_INVALID",
    "RECORD_SUBMISSIONS_EXCEEDED",
    "RECORD_TYPE_UNFIT",
    "REQUEST_ID_REUSED",
    "ROLE_MISSING",
    "ROUNDS_EXCEEDED",
    "SCREEN_FAILED",
    "SCREEN_MISSING",
    "SCREEN_VALUES_INVALID",
    "SEND_BACK_UNFIT",
    "SEPARATION_OF_DUTIES",
    "STAGE_NOT_IN_ERROR",
    "STAGE_UNKNOWN",
    "STEP_NOT_IN_ERROR",
    "STEP_NOT_IN_PROGRESS",
    "STOPPING",
    "STORE_UNAVAILABLE",
    "SUBMISSION_ENDED",
    "SUBMISSION_NOT_FOUND",
    "SUBMISSION_STATUS_UNFIT",
    "TESTS_FAILED",
    "TEXT_MISSING",
    "TOO_LONG",
    "UNAUTHENTICATED",
    "WORK_ITEM_CLOSED",
    "WORK_ITEM_NOT_FOUND",
];

/// Something is wrong with a field of the request.
pub(super) fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Status {
    let (field, description) = (field.into(), description.into());
    let message = format!("{field}: {description}");
    with_fields("INVALID_FIELD", &message, [(field, description)])
}

/// The caller lacks a role.
pub(super) fn role_missing(needed: &str) -> Status {
    status(Code::PermissionDenied, "ROLE_MISSING", &format!("this takes the role {needed}"), [])
}

/// There is no such thing.
pub(super) fn not_found(kind: &str, name: &str) -> Status {
    status(Code::NotFound, "NOT_FOUND", &format!("there is no {kind} `{name}`"), [])
}

/// A definition is refused: every complaint is a field violation, its field `line:column path`.
pub(super) fn definition_invalid(complaints: impl IntoIterator<Item = (String, String)>) -> Status {
    with_fields("DEFINITION_INVALID", "the definition is refused", complaints)
}

/// Tests of a process fail: each is a field violation, its field `line:column path`.
pub(super) fn tests_failed(complaints: impl IntoIterator<Item = (String, String)>) -> Status {
    with_fields("TESTS_FAILED", "tests of the definition fail", complaints)
}

/// A change of the directory is refused.
pub(super) fn directory_invalid(field: &str, description: &str) -> Status {
    with_fields("DIRECTORY_INVALID", description, [(field.to_owned(), description.to_owned())])
}

/// The catalog changed again and again meanwhile.
pub(super) fn catalog_busy() -> Status {
    status(Code::Aborted, "CATALOG_BUSY", "the catalog is being changed by others: try again", [])
}

/// The server stops: a stream ends, and goes on at another server or later.
pub(super) fn stopping() -> Status {
    status(Code::Unavailable, "STOPPING", "the server is stopping: call again", [])
}

pub(super) fn bad_data(error: &BadData) -> Status {
    invalid_field(error.path(), error.to_string())
}

pub(super) fn unauthenticated(error: &AuthError) -> Status {
    match error {
        AuthError::Missing(_) | AuthError::Invalid => {
            status(Code::Unauthenticated, "UNAUTHENTICATED", &error.to_string(), [])
        }
        AuthError::Store(error) => store(error),
    }
}

pub(super) fn store(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) | StoreError::Conflict => {
            tracing::warn!(%error, "the store is not available");
            status(Code::Unavailable, "STORE_UNAVAILABLE", "the store is not available: try again", [])
        }
        StoreError::Schema(_) | StoreError::Internal(_) => {
            tracing::error!(%error, "the store failed");
            internal()
        }
    }
}

pub(super) fn report(error: ReportError) -> Status {
    match error {
        ReportError::Malformed { field, reason } | ReportError::ResultInvalid { field, reason } => {
            invalid_field(format!("report.{field}"), reason)
        }
        ReportError::Rejected(rejection) => rejected(rejection),
    }
}

pub(super) fn rejected(rejection: Rejection) -> Status {
    match rejection {
        Rejection::Refused(refusal) => refused(&refusal),
        Rejection::ProcessNotActive(ref name) => status(
            Code::FailedPrecondition,
            "PROCESS_NOT_ACTIVE",
            &rejection.to_string(),
            [("process".to_owned(), name.clone())],
        ),
        Rejection::RequestReused => {
            with_fields("REQUEST_ID_REUSED", &rejection.to_string(), [("request_id".to_owned(), rejection.to_string())])
        }
        Rejection::TooManyOpen { max } => precondition(
            "RECORD_SUBMISSIONS_EXCEEDED",
            &rejection.to_string(),
            "record",
            [("max".to_owned(), max.to_string())],
        ),
        Rejection::Overloaded => status(Code::ResourceExhausted, "OVERLOADED", &rejection.to_string(), []),
        Rejection::Unavailable => {
            let message = "the store is not available: the same call with the same request_id can safely be repeated";
            status(Code::Unavailable, "STORE_UNAVAILABLE", message, [])
        }
        Rejection::Internal => internal(),
    }
}

/// The server failed by itself.
pub(super) fn internal() -> Status {
    status(Code::Internal, "INTERNAL", "the server failed: its log says why", [])
}

fn refused(refusal: &Refusal) -> Status {
    let reason = refusal.reason();
    let message = refusal.to_string();
    let text = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
    match refusal {
        Refusal::SubmissionNotFound | Refusal::WorkItemNotFound | Refusal::JobNotFound => {
            status(Code::NotFound, reason, &message, [])
        }
        Refusal::AlreadyDecided { by, at, verdict } => {
            let facts = [text("by", by), text("at", at), text("verdict", &verdict.as_str())];
            status(Code::FailedPrecondition, reason, &message, facts)
        }
        Refusal::WorkItemClosed { status: now } => precondition(reason, &message, "work_item", [text("status", now)]),
        Refusal::SubmissionEnded { status: now } | Refusal::SubmissionStatusUnfit { status: now, .. } => {
            precondition(reason, &message, "submission", [text("status", now)])
        }
        Refusal::EndingAlready { ending } => {
            precondition(reason, &message, "submission", [text("ending", &ending.status())])
        }
        Refusal::MigrationUnfit { problems, .. } => {
            let fields = problems.iter().map(|problem| (problem.path.clone(), problem.why.clone()));
            with_fields(reason, &message, fields)
        }
        Refusal::StageUnknown { .. } => with_fields(reason, &message, [("stage".to_owned(), message.clone())]),
        Refusal::StepNotInError { step } | Refusal::StepNotInProgress { step } => {
            precondition(reason, &message, "step", [text("step", step)])
        }
        Refusal::ClaimedByAnother { by, until } => {
            let until = until.as_ref().map(|until| text("until", until));
            precondition(reason, &message, "work_item", std::iter::once(text("by", by)).chain(until))
        }
        Refusal::NotShared { .. }
        | Refusal::NotClaimed
        | Refusal::NoOpenQuestion
        | Refusal::QuestionsExhausted { .. } => precondition(reason, &message, "work_item", []),
        Refusal::QuestionOpen { by, at } => {
            precondition(reason, &message, "work_item", [text("by", by), text("at", at)])
        }
        Refusal::AssigneeUnfit { .. } | Refusal::SendBackUnfit { .. } => {
            with_fields(reason, &message, [("to".to_owned(), message.clone())])
        }
        Refusal::StageNotInError { stage } => precondition(reason, &message, "stage", [text("stage", stage)]),
        Refusal::AttemptNotLive { attempt } => precondition(reason, &message, "job", [text("attempt", attempt)]),
        Refusal::NotAssignee { .. }
        | Refusal::DelegationUnfit { .. }
        | Refusal::SeparationOfDuties { .. }
        | Refusal::NotActive { .. }
        | Refusal::NotPermitted { .. } => status(Code::PermissionDenied, reason, &message, []),
        Refusal::ChoiceInvalid { field, why } => with_fields(reason, &message, [(field.clone(), why.clone())]),
        Refusal::ChoiceMissing { step } => {
            with_fields(reason, &message, [(format!("choices.{step}"), message.clone())])
        }
        Refusal::AbstentionNotAllowed { .. } => {
            with_fields(reason, &message, [("verdict".to_owned(), message.clone())])
        }
        Refusal::RecordChanged { digest } => status(Code::Aborted, reason, &message, [text("record_digest", digest)]),
        Refusal::RecordChangeDenied => precondition(reason, &message, "record", []),
        Refusal::RoundsExceeded { .. } => precondition(reason, &message, "submission", []),
        Refusal::RecordInvalid { violations } => {
            let fields = violations.iter().map(|violation| {
                let dot = if violation.path.is_empty() { "" } else { "." };
                (format!("record.data{dot}{}", violation.path), violation.message.clone())
            });
            with_fields(reason, &message, fields)
        }
        Refusal::ScreenValuesInvalid { violations } => {
            let fields = violations.iter().map(|violation| {
                let dot = if violation.path.is_empty() { "" } else { "." };
                (format!("values{dot}{}", violation.path), violation.message.clone())
            });
            with_fields(reason, &message, fields)
        }
        Refusal::ScreenMissing { step } => precondition(reason, &message, "step", [text("step", step)]),
        Refusal::ScreenFailed { flow, .. } => precondition(reason, &message, "flow", [text("flow", flow)]),
        Refusal::RecordTypeUnfit { .. } => with_fields(reason, &message, [("record.type".to_owned(), message.clone())]),
        Refusal::TooLong { field, .. } | Refusal::TextMissing { field } => {
            with_fields(reason, &message, [((*field).to_owned(), message.clone())])
        }
        Refusal::CommentMissing => with_fields(reason, &message, [("comment".to_owned(), message.clone())]),
        Refusal::HistoryFull { .. } => status(Code::ResourceExhausted, reason, &message, []),
    }
}

fn status(code: Code, reason: &str, message: &str, facts: impl IntoIterator<Item = (String, String)>) -> Status {
    Status::with_error_details(code, message, details(reason, facts))
}

/// How many bytes the field violations of a refusal have together. They travel in a header, in base64: gRPC for Java and for C
/// take 8 KiB of headers, HTTP/2 for Rust 16 KiB, and whoever is sent more gets an error of the transport for an answer.
const VIOLATIONS_BYTES_MAX: usize = 3 * 1024;

/// How many bytes a text of a refusal has, so that a few violations fit whatever the first one says.
const TEXT_BYTES_MAX: usize = 768;

fn with_fields(reason: &str, message: &str, fields: impl IntoIterator<Item = (String, String)>) -> Status {
    let mut details = details(reason, []);
    let mut fields = fields.into_iter();
    let mut left = VIOLATIONS_BYTES_MAX;
    while let Some((field, description)) = fields.next() {
        let (field, description) = (cut(field), cut(description));
        let Some(rest) = left.checked_sub(field.len() + description.len()) else {
            details.add_bad_request_violation("", format!("{} are left out", fields.count() + 1));
            break;
        };
        left = rest;
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(Code::InvalidArgument, cut(message.to_owned()), details)
}

/// As much of a text as a refusal takes.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

fn precondition(
    reason: &str,
    message: &str,
    subject: &str,
    facts: impl IntoIterator<Item = (String, String)>,
) -> Status {
    let mut details = details(reason, facts);
    details.add_precondition_failure_violation(reason, subject, message);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

fn details(reason: &str, facts: impl IntoIterator<Item = (String, String)>) -> ErrorDetails {
    let facts: HashMap<String, String> = facts.into_iter().collect();
    ErrorDetails::with_error_info(reason, DOMAIN, facts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use tonic_types::StatusExt;

    use super::{tests_failed, with_fields};

    #[test]
    fn a_refusal_fits_in_the_headers_that_clients_take() {
        let field = |number: u32| (format!("{number}:1 tests[{number}]"), "ä".repeat(2_000));
        let long = "ä".repeat(2_000);
        for status in [tests_failed((0..100).map(field)), with_fields("ANY", &long, (0..100).map(field))] {
            // A header is sent in base64, or with three bytes for each that is not ASCII.
            let bytes = status.details().len().div_ceil(3) * 4 + status.message().len() * 3;
            assert!(bytes < 8 * 1024, "{bytes}");
            let details = status.get_error_details();
            let violations = &details.bad_request().unwrap().field_violations;
            assert_eq!((violations.len(), violations[0].field.as_str()), (4, "0:1 tests[0]"));
            assert_eq!(violations[3].description, "97 are left out");
        }
    }

    #[test]
    fn a_refusal_that_fits_is_told_whole() {
        let fields = (0..50).map(|number| (format!("{number}:1"), "a name is missing".to_owned()));
        let details = tests_failed(fields.clone()).get_error_details();
        let told = &details.bad_request().unwrap().field_violations;
        let told: Vec<_> = told.iter().map(|told| (told.field.clone(), told.description.clone())).collect();
        assert_eq!(told, fields.collect::<Vec<_>>());
    }
}
