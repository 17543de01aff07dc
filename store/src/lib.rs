//! What Quorate keeps: the event log, its projections, the outbox, and the catalog of definitions and people.
//!
//! One [`Store`] trait, two implementations ([`postgres`] and [`sqlite`]) that pass the same tests. Nothing here knows a rule:
//! the engine decides, the store holds.

mod batch;
mod canonical;
pub mod catalog;
pub mod locks;
pub mod log;
mod migration;
pub mod postgres;
pub mod query;
mod rows;
pub mod sqlite;
pub mod store;

use std::sync::Arc;

pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError};

/// Opens the store of a URL: `postgres://…` or `postgresql://…`, `sqlite:PATH`, or `sqlite::memory:` for one that is gone when
/// it is closed. The schema is neither brought up to date nor checked.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(PostgresStore::connect(url, postgres::POOL_SIZE_DEFAULT).await?));
    }
    match url.strip_prefix("sqlite:") {
        Some(":memory:") => Ok(Arc::new(SqliteStore::in_memory()?)),
        Some(path) if !path.is_empty() => Ok(Arc::new(SqliteStore::open(path)?)),
        // The URL is not repeated: it may hold a password.
        _ => Err(StoreError::Internal(
            "a database URL begins with `postgres://`, `postgresql://` or `sqlite:` and a path".to_owned(),
        )),
    }
}
