//! A connection in use, and what is sent on it.

use std::{future::Future, ops::Deref, time::Duration};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio_postgres::{
    Row, Statement,
    types::{ToSql, Type},
};

use super::{
    columns::RowColumns,
    error::{from_pool, from_postgres},
};
use crate::StoreError;

/// How long an operation may take in all: more than a statement may take at the server, so that this bound is met only where
/// the connection hangs.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(40);

/// A parameter of a statement.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection that goes back to the pool only when it is released: whatever else ends its use (an error, a caller that went
/// away, a bound that passed) closes it, so that nobody ever gets a connection with a transaction or an answer left on it.
pub(super) struct Session {
    object: Option<Object>,
}

impl Session {
    /// Takes a connection from the pool.
    pub(super) async fn open(pool: &Pool) -> Result<Self, StoreError> {
        let object = pool.get().await.map_err(|error| from_pool(&error))?;
        Ok(Self { object: Some(object) })
    }

    /// Gives the connection back, ready for the next use.
    pub(super) fn release(mut self) {
        drop(self.object.take());
    }

    /// A statement that this connection has prepared, or prepares now.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, StoreError> {
        self.prepare_cached(sql).await.map_err(|error| from_postgres(&error))
    }

    /// The rows of a prepared statement.
    pub(super) async fn rows<T>(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let statement = self.prepare(sql).await?;
        let rows = self.query(&statement, params).await.map_err(|error| from_postgres(&error))?;
        read_rows(rows, read)
    }

    /// The rows of a statement that is planned afresh, for the parameters at hand.
    pub(super) async fn rows_planned_afresh<T>(
        &self,
        sql: &'static str,
        params: &[(Param<'_>, Type)],
        read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.query_typed(sql, params).await.map_err(|error| from_postgres(&error))?;
        read_rows(rows, read)
    }

    /// Runs a prepared statement. Answers how many rows it wrote.
    pub(super) async fn write(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let statement = self.prepare(sql).await?;
        self.execute(&statement, params).await.map_err(|error| from_postgres(&error))
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.batch_execute(sql).await.map_err(|error| from_postgres(&error))
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &Self::Target {
        self.object.as_ref().expect("a session has its connection until it is released, which takes the session")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// Reads each row.
pub(super) fn read_rows<T>(
    rows: Vec<Row>,
    read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(|row| read(&mut RowColumns::new(row))).collect()
}

/// Gives up what takes too long.
pub(super) async fn bounded<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(OPERATION_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!("the database did not answer within {} s", OPERATION_TIMEOUT.as_secs())))
    })
}
