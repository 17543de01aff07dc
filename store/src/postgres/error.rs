//! What the database's errors mean to the rest of the program. No text of a URL gets in here: it may hold a password.

use std::{error::Error as _, io};

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

use crate::StoreError;

/// An error of a statement or a connection.
pub(super) fn from_postgres(error: &tokio_postgres::Error) -> StoreError {
    if let Some(reason) = error.as_db_error() {
        return from_server(reason);
    }
    let source = error.source();
    if error.is_closed() || source.is_some_and(|source| source.downcast_ref::<io::Error>().is_some()) {
        return StoreError::Unavailable(format!("the connection to the database failed: {error}"));
    }
    StoreError::Internal(error.to_string())
}

/// An error of getting a connection: none was free, or none could be made.
pub(super) fn from_pool(error: &PoolError) -> StoreError {
    match error {
        PoolError::Timeout(_) => {
            StoreError::Unavailable("no connection to the database within the time for it".to_owned())
        }
        PoolError::Backend(error) => {
            let reason = error.as_db_error().map_or_else(|| error.to_string(), |reason| reason.message().to_owned());
            StoreError::Unavailable(format!("no connection to the database: {reason}"))
        }
        other => StoreError::Unavailable(format!("no connection to the database: {other}")),
    }
}

/// Whether a statement failed only because one before it in the same transaction had failed.
pub(super) fn is_consequence(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

fn from_server(reason: &DbError) -> StoreError {
    let code = reason.code();
    let text = format!("{} ({})", reason.message(), code.code());
    match code {
        // A primary key says that somebody else wrote the same row first. Any other unique index holds a rule that this
        // program has broken.
        &SqlState::UNIQUE_VIOLATION if reason.constraint().is_some_and(|name| name.ends_with("_pkey")) => {
            StoreError::Conflict
        }
        &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => StoreError::Conflict,
        &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN => {
            StoreError::Schema(format!("the schema is not the one that this version needs: {text}"))
        }
        // A server that shuts down, starts, stands by, is out of connections or memory, or gave a statement up.
        &SqlState::QUERY_CANCELED | &SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::Unavailable(text),
        code if ["08", "53", "57", "58"].iter().any(|class| code.code().starts_with(class)) => {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Internal(text),
    }
}
