//! The outbox and the timers: what is claimed, and what the broker has confirmed.

use deadpool_postgres::Pool;
use jiff::Timestamp;
use quorate_engine::id::{SubmissionId, Tenant};

use super::{
    columns::{Bulk, RowColumns},
    error::from_postgres,
    session::{Param, Session, read_rows},
    sql,
};
use crate::{
    StoreError,
    rows::{read, write},
    store::{AttemptKey, DueJob, OpenJobRow, PublishedEvents},
};

/// Losing the last claims and marks in a crash of the database costs one more delivery, or one more look; so these transactions
/// do not wait for the disk.
const BEGIN: &str = "begin; set local synchronous_commit to off";

pub(super) async fn mark_published(
    pool: &Pool,
    attempts: &[AttemptKey],
    redeliver_at: Timestamp,
) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let attempts = Bulk::of(attempts, write::attempt);
    let mut params = attempts.params();
    params.push(&redeliver_at);
    run(pool, sql!("job/mark_published"), &params, |_| Ok(())).await?;
    Ok(())
}

pub(super) async fn redeliver_all(pool: &Pool, now: Timestamp) -> Result<(), StoreError> {
    run(pool, sql!("job/redeliver_all"), &[&now], |_| Ok(())).await?;
    Ok(())
}

pub(super) async fn claim_deliveries(
    pool: &Pool,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<OpenJobRow>, StoreError> {
    run(pool, sql!("job/claim_deliveries"), &[&now, &claimed_until, &i64::from(limit)], read::open_job).await
}

pub(super) async fn claim_events(
    pool: &Pool,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<PublishedEvents>, StoreError> {
    run(pool, sql!("event_outbox/claim"), &[&now, &claimed_until, &i64::from(limit)], read::published_events).await
}

pub(super) async fn mark_events_published(
    pool: &Pool,
    published: &[PublishedEvents],
    deliver_at: Timestamp,
) -> Result<(), StoreError> {
    if published.is_empty() {
        return Ok(());
    }
    let published = Bulk::of(published, write::published_events);
    let mut params = published.params();
    params.push(&deliver_at);
    run(pool, sql!("event_outbox/mark_published"), &params, |_| Ok(())).await?;
    Ok(())
}

pub(super) async fn claim_due(
    pool: &Pool,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<DueJob>, StoreError> {
    run(pool, sql!("job/claim_due"), &[&now, &claimed_until, &i64::from(limit)], read::due_job).await
}

pub(super) async fn claim_waiting(
    pool: &Pool,
    now: Timestamp,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
    run(pool, sql!("submission/claim_waiting"), &[&now, &before, &i64::from(limit)], read::submission_key).await
}

pub(super) async fn claim_timers(
    pool: &Pool,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
    run(pool, sql!("timer/claim"), &[&now, &claimed_until, &i64::from(limit)], read::submission_key).await
}

/// One statement in a transaction of its own, in one round trip.
async fn run<T>(
    pool: &Pool,
    sql: &'static str,
    params: &[Param<'_>],
    read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let session = Session::open(pool).await?;
    let statement = session.prepare(sql).await?;
    // Polled, and so sent, from left to right. After a statement that failed, `commit` rolls back.
    let (begun, rows, committed) = futures::join!(
        session.batch_execute(BEGIN),
        session.query(&statement, params),
        session.batch_execute("commit")
    );
    begun.map_err(|error| from_postgres(&error))?;
    let rows = rows.map_err(|error| from_postgres(&error))?;
    committed.map_err(|error| from_postgres(&error))?;
    let rows = read_rows(rows, read)?;
    session.release();
    Ok(rows)
}
