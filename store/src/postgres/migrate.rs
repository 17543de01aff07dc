//! The schema.

use deadpool_postgres::Pool;

use super::session::{Param, Session};
use crate::{
    StoreError,
    migration::{Applied, Migration, check, pending},
    rows::Columns,
};

/// In order.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_initial", sql: include_str!("../../migrations/postgres/0001_initial.sql") },
    Migration { name: "0002_votes", sql: include_str!("../../migrations/postgres/0002_votes.sql") },
    Migration { name: "0003_delegations", sql: include_str!("../../migrations/postgres/0003_delegations.sql") },
    Migration { name: "0004_timers", sql: include_str!("../../migrations/postgres/0004_timers.sql") },
    Migration { name: "0005_items", sql: include_str!("../../migrations/postgres/0005_items.sql") },
    Migration { name: "0006_calendars", sql: include_str!("../../migrations/postgres/0006_calendars.sql") },
    Migration { name: "0007_evaluations", sql: include_str!("../../migrations/postgres/0007_evaluations.sql") },
    Migration { name: "0008_locks", sql: include_str!("../../migrations/postgres/0008_locks.sql") },
    Migration { name: "0009_events_out", sql: include_str!("../../migrations/postgres/0009_events_out.sql") },
    Migration { name: "0010_outbox_age", sql: include_str!("../../migrations/postgres/0010_outbox_age.sql") },
];

/// The advisory lock that a migrating server holds: any number that nothing else in the database uses ("quorate" in ASCII).
const LOCK: i64 = 0x71_75_6f_72_61_74_65;

pub(super) async fn migrate(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let session = Session::open(pool).await?;
    // Waiting for another server's migration, and a migration itself, may take longer than any statement of the service.
    session.run("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    session.run(&format!("select pg_advisory_lock({LOCK})")).await?;
    let applied = apply(&session).await;
    // The session is not released: its connection closes, which ends the lock and the settings.
    drop(session);
    applied
}

async fn apply(session: &Session) -> Result<Vec<String>, StoreError> {
    session.run(include_str!("../../sql/postgres/migration/create.sql")).await?;
    let mut names = Vec::new();
    for migration in pending(MIGRATIONS, &applied(session).await?)? {
        session.run(&format!("begin; {}", migration.sql)).await?;
        let checksum = migration.checksum();
        let params: [Param<'_>; 2] = [&migration.name, &checksum.as_slice()];
        session.write(include_str!("../../sql/postgres/migration/insert.sql"), &params).await?;
        session.run("commit").await?;
        names.push(migration.name.to_owned());
    }
    Ok(names)
}

pub(super) async fn check_schema(pool: &Pool) -> Result<(), StoreError> {
    let session = Session::open(pool).await?;
    let exists = session.rows(include_str!("../../sql/postgres/migration/exists.sql"), &[], Columns::flag).await?;
    let applied = if exists.contains(&true) { applied(&session).await? } else { Vec::new() };
    session.release();
    check(MIGRATIONS, &applied)
}

async fn applied(session: &Session) -> Result<Vec<Applied>, StoreError> {
    session
        .rows(include_str!("../../sql/postgres/migration/list.sql"), &[], |columns| {
            Ok(Applied { name: columns.text()?, checksum: columns.bytes_or_null()?.unwrap_or_default() })
        })
        .await
}
