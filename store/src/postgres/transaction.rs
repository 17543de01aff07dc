//! Transactions whose statements are all on their way before the first is answered.

use futures::future::join_all;
use tokio_postgres::Statement;

use super::{
    columns::Bulk,
    error::{from_postgres, is_consequence},
    session::{Param, Session},
};
use crate::StoreError;

/// The statements of a transaction, in the order in which they are sent.
#[derive(Default)]
pub(super) struct Work<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    sql: &'static str,
    params: Params<'a>,
    expected: Option<u64>,
}

enum Params<'a> {
    Bulk(Bulk<'a>),
    Single(Vec<Param<'a>>),
}

impl<'a> Work<'a> {
    /// A statement that writes many rows; nothing when there are none.
    pub(super) fn bulk(&mut self, sql: &'static str, rows: Bulk<'a>) {
        if rows.rows() > 0 {
            self.parts.push(Part { sql, params: Params::Bulk(rows), expected: None });
        }
    }

    /// As `bulk`, where every row has to be written: it is a conflict when one is not.
    pub(super) fn bulk_exactly(&mut self, sql: &'static str, rows: Bulk<'a>) {
        let expected = rows.rows() as u64;
        if expected > 0 {
            self.parts.push(Part { sql, params: Params::Bulk(rows), expected: Some(expected) });
        }
    }

    /// A statement with these parameters.
    pub(super) fn single(&mut self, sql: &'static str, params: Vec<Param<'a>>) {
        self.parts.push(Part { sql, params: Params::Single(params), expected: None });
    }

    /// A statement with these parameters that has to write one row: it is a conflict when it does not.
    pub(super) fn single_exactly(&mut self, sql: &'static str, params: Vec<Param<'a>>) {
        self.parts.push(Part { sql, params: Params::Single(params), expected: Some(1) });
    }

    /// Runs the statements and commits: one round trip for all of them, and one for the commit. Leaves no transaction open,
    /// whatever the outcome.
    pub(super) async fn commit(self, session: &Session) -> Result<(), StoreError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        match self.run(session).await {
            Ok(()) => session.run("commit").await,
            Err(error) => {
                session.run("rollback").await?;
                Err(error)
            }
        }
    }

    async fn run(&self, session: &Session) -> Result<(), StoreError> {
        let statements = prepare(session, &self.parts).await?;
        // `join` polls from left to right, and `join_all` polls from the first to the last; a statement is sent when it is
        // polled first. So the statements arrive in order, behind `begin`.
        let (begun, written) = futures::join!(
            session.batch_execute("begin"),
            join_all(self.parts.iter().zip(&statements).map(|(part, statement)| async move {
                match &part.params {
                    Params::Bulk(rows) => session.execute(statement, &rows.params()).await,
                    Params::Single(params) => session.execute(statement, params).await,
                }
            }))
        );
        begun.map_err(|error| from_postgres(&error))?;
        if let Some(error) =
            written.iter().filter_map(|written| written.as_ref().err()).find(|error| !is_consequence(error))
        {
            return Err(from_postgres(error));
        }
        for (part, written) in self.parts.iter().zip(written) {
            let written = written.map_err(|error| from_postgres(&error))?;
            if part.expected.is_some_and(|expected| expected != written) {
                return Err(StoreError::Conflict);
            }
        }
        Ok(())
    }
}

async fn prepare(session: &Session, parts: &[Part<'_>]) -> Result<Vec<Statement>, StoreError> {
    join_all(parts.iter().map(|part| session.prepare(part.sql))).await.into_iter().collect()
}
