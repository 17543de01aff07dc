//! The schema.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    columns::{row, rows},
    error::from_sqlite,
    sql,
};
use crate::{
    StoreError,
    migration::{Applied, Migration, check, pending},
    rows::Columns,
};

/// In order.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_initial", sql: include_str!("../../migrations/sqlite/0001_initial.sql") },
    Migration { name: "0002_votes", sql: include_str!("../../migrations/sqlite/0002_votes.sql") },
    Migration { name: "0003_delegations", sql: include_str!("../../migrations/sqlite/0003_delegations.sql") },
    Migration { name: "0004_timers", sql: include_str!("../../migrations/sqlite/0004_timers.sql") },
    Migration { name: "0005_items", sql: include_str!("../../migrations/sqlite/0005_items.sql") },
    Migration { name: "0006_calendars", sql: include_str!("../../migrations/sqlite/0006_calendars.sql") },
    Migration { name: "0007_evaluations", sql: include_str!("../../migrations/sqlite/0007_evaluations.sql") },
    Migration { name: "0008_locks", sql: include_str!("../../migrations/sqlite/0008_locks.sql") },
    Migration { name: "0009_events_out", sql: include_str!("../../migrations/sqlite/0009_events_out.sql") },
    Migration { name: "0010_outbox_age", sql: include_str!("../../migrations/sqlite/0010_outbox_age.sql") },
];

pub(super) fn migrate(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(from_sqlite)?;
    transaction.execute_batch(sql!("migration/create")).map_err(from_sqlite)?;
    let pending = pending(MIGRATIONS, &applied(&transaction)?)?;
    for migration in &pending {
        apply(&transaction, migration).map_err(from_sqlite)?;
    }
    transaction.commit().map_err(from_sqlite)?;
    Ok(pending.iter().map(|migration| migration.name.to_owned()).collect())
}

fn apply(transaction: &Transaction<'_>, migration: &Migration) -> rusqlite::Result<()> {
    transaction.execute_batch(migration.sql)?;
    transaction.execute(sql!("migration/insert"), (migration.name, migration.checksum()))?;
    Ok(())
}

pub(super) fn check_schema(connection: &Connection) -> Result<(), StoreError> {
    let exists = row(connection, sql!("migration/exists"), [], |columns| columns.flag())?;
    let applied = if exists == Some(true) { applied(connection)? } else { Vec::new() };
    check(MIGRATIONS, &applied)
}

fn applied(connection: &Connection) -> Result<Vec<Applied>, StoreError> {
    rows(connection, sql!("migration/list"), [], |columns| {
        Ok(Applied { name: columns.text()?, checksum: columns.bytes_or_null()?.unwrap_or_default() })
    })
}
