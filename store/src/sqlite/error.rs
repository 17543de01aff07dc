//! What SQLite's errors mean to the rest of the program.

use rusqlite::{Error, ErrorCode, ffi};

use crate::StoreError;

pub(super) fn from_sqlite(error: Error) -> StoreError {
    let (failure, message) = match error {
        Error::SqliteFailure(failure, message) => (failure, message),
        other => return from_text(&other.to_string()),
    };
    let text = message.unwrap_or_else(|| failure.to_string());
    match failure.code {
        // A primary key says that somebody else wrote the same row first. Any other constraint holds a rule that this program
        // has broken.
        ErrorCode::ConstraintViolation if failure.extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
            StoreError::Conflict
        }
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::CannotOpen
        | ErrorCode::DiskFull
        | ErrorCode::ReadOnly
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory => StoreError::Unavailable(text),
        _ => from_text(&text),
    }
}

fn from_text(text: &str) -> StoreError {
    // SQLite has no code for a missing table.
    if text.contains("no such table") || text.contains("no such column") {
        StoreError::Schema(format!("the schema is not the one that this version needs: {text}"))
    } else {
        StoreError::Internal(text.to_owned())
    }
}
