//! Why a command did not do what it was asked: what is printed, and the exit code.

use std::io::{self, Write};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    cli::{output::status_name, table::printable},
    proto::v1::SubmissionStatus,
};

/// What can go wrong. Each has one exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server answered with a status other than OK.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// There was no answer, however often we asked.
    #[error("cannot reach {server}: {reason}")]
    CannotReach { server: String, reason: String },
    /// The arguments, or what they point at, make no sense.
    #[error("{0}")]
    Usage(String),
    /// It was understood, and could not be done.
    #[error("{0}")]
    Failed(String),
    /// Part of it could not be done, and that has been printed already.
    #[error("")]
    Reported,
    /// A submission that was waited for has ended, and not by being approved.
    #[error("the submission ended {}", status_name(*.0))]
    Ended(SubmissionStatus),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Failure {
    /// The exit code, as in `quorate --help` and `docs/cli.md`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(status) => match status.code() {
                Code::Unavailable => 3,
                Code::NotFound => 4,
                Code::PermissionDenied | Code::Unauthenticated => 5,
                _ => 1,
            },
            Self::CannotReach { .. } => 3,
            Self::Usage(_) => 2,
            Self::Ended(status) => match status {
                SubmissionStatus::Rejected => 10,
                SubmissionStatus::Recalled => 11,
                SubmissionStatus::Canceled => 12,
                SubmissionStatus::Error => 13,
                SubmissionStatus::Approved => 0,
                SubmissionStatus::InProgress | SubmissionStatus::Suspended | SubmissionStatus::Unspecified => 1,
            },
            // Whoever read the output has seen enough (`quorate list … | head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Reported | Self::Output(_) => 1,
        }
    }

    /// Says what is wrong, where it has not been said.
    pub(crate) fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Refused(status) => print_status(status, err),
            Self::CannotReach { server, reason } if reason.is_empty() => {
                writeln!(err, "error: cannot reach {server}: is the server running? start one with: quorate dev")
            }
            // How it ended is on standard output.
            Self::Reported | Self::Ended(_) => Ok(()),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::CannotReach { .. } | Self::Usage(_) | Self::Failed(_) | Self::Output(_) => {
                writeln!(err, "error: {self}")
            }
        }
    }
}

/// A part that every answer of its kind has. Protobuf cannot say so, and a server of another version may differ.
pub(crate) fn answered<T>(part: Option<T>) -> Result<T, Failure> {
    part.ok_or_else(|| Failure::Failed("the server's answer is empty; is it of another version?".to_owned()))
}

/// The stable reason of a refusal, or else the name of its code.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason)
}

fn print_status(status: &Status, err: &mut dyn Write) -> io::Result<()> {
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    writeln!(err, "error: {}", printable(message))?;
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        writeln!(err, "  reason: {}", printable(&info.reason))?;
        // In alphabetical order: a map has none, and the same error should always look the same.
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        for (key, value) in metadata {
            writeln!(err, "  {}: {}", printable(key), printable(value))?;
        }
    }
    for violation in details.bad_request().map(|request| &request.field_violations).into_iter().flatten() {
        writeln!(err, "  field {}: {}", printable(&violation.field), printable(&violation.description))?;
    }
    for violation in details.precondition_failure().map(|failure| &failure.violations).into_iter().flatten() {
        writeln!(err, "  {}: {}", printable(&violation.subject), printable(&violation.description))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn printed(failure: &Failure) -> String {
        let mut text = Vec::new();
        failure.print(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_refusal_has_the_exit_code_of_the_documented_table() {
        let table = [
            (Code::InvalidArgument, 1),
            (Code::Aborted, 1),
            (Code::FailedPrecondition, 1),
            (Code::DeadlineExceeded, 1),
            (Code::Unavailable, 3),
            (Code::NotFound, 4),
            (Code::PermissionDenied, 5),
            (Code::Unauthenticated, 5),
        ];
        for (code, expected) in table {
            assert_eq!(Failure::from(Status::new(code, "no")).exit_code(), expected, "{code:?}");
        }
        assert_eq!(Failure::Usage("no".into()).exit_code(), 2);
        assert_eq!(Failure::CannotReach { server: String::new(), reason: String::new() }.exit_code(), 3);
    }

    #[test]
    fn how_a_submission_ended_is_an_exit_code() {
        let table = [
            (SubmissionStatus::Approved, 0),
            (SubmissionStatus::Rejected, 10),
            (SubmissionStatus::Recalled, 11),
            (SubmissionStatus::Canceled, 12),
            (SubmissionStatus::Error, 13),
        ];
        for (status, expected) in table {
            assert_eq!(Failure::Ended(status).exit_code(), expected, "{status:?}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit_code(), printed(&failure)), (0, String::new()));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 1);
    }

    #[test]
    fn a_refusal_is_printed_with_its_reason_its_facts_and_its_fields() {
        let mut details = ErrorDetails::with_error_info(
            "ALREADY_DECIDED",
            "quorate",
            [("decided_by".to_owned(), "bob".to_owned()), ("decided_at".to_owned(), "2026-11-22T10:00:00Z".to_owned())],
        );
        details.add_bad_request_violation("record.data.amount", "must be a number");
        let status = Status::with_error_details(Code::FailedPrecondition, "the work item is decided\x1b[2J", details);
        assert_eq!(
            printed(&status.into()),
            "error: the work item is decided�[2J\n  reason: ALREADY_DECIDED\n  decided_at: 2026-11-22T10:00:00Z\n  \
             decided_by: bob\n  field record.data.amount: must be a number\n"
        );
    }

    #[test]
    fn a_server_that_is_not_there_comes_with_advice() {
        let failure = Failure::CannotReach { server: "http://127.0.0.1:1".into(), reason: String::new() };
        assert_eq!(
            printed(&failure),
            "error: cannot reach http://127.0.0.1:1: is the server running? start one with: quorate dev\n"
        );
    }
}
