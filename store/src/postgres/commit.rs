//! The commit of a lane, and what it loads before.

use deadpool_postgres::Pool;
use quorate_engine::id::{SubmissionId, Tenant};
use uuid::Uuid;

use super::{
    columns::{Bulk, RowColumns},
    session::{Param, Session},
    sql,
    transaction::Work,
};
use crate::{
    StoreError,
    batch::{Checked, check},
    log::StoredEvent,
    rows::{Columns, Values, read, write},
    store::{Batch, History, Loaded, RequestRow, Wanted},
};

pub(super) async fn commit(pool: &Pool, batch: &Batch) -> Result<(), StoreError> {
    let batch = check(batch)?;
    let work = work(&batch);
    let session = Session::open(pool).await?;
    let committed = work.commit(&session).await;
    if matches!(committed, Ok(()) | Err(StoreError::Conflict)) {
        session.release();
    }
    committed
}

/// The statements of a commit. Every replica locks in this order: submissions by id, then what is theirs, then requests by
/// key.
fn work<'a>(batch: &'a Checked<'a>) -> Work<'a> {
    let now = batch.now;
    let mut work = Work::default();
    work.bulk_exactly(
        sql!("submission/update"),
        Bulk::of(batch.changed(), |values, (expected, row)| {
            write::submission(values, row, now);
            values.number(Some(expected.cast_signed()));
        }),
    );
    work.bulk(sql!("submission/insert"), Bulk::of(batch.made(), |values, row| write::submission(values, row, now)));
    work.bulk(
        sql!("event/insert"),
        Bulk::of(batch.rows(|commit| &commit.events), |values, (of, row)| write::event(values, of, row)),
    );
    work.bulk(
        sql!("stage_run/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.stage_runs), |values, (of, row)| {
            write::stage_run(values, of, row);
        }),
    );
    work.bulk(
        sql!("step_run/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.step_runs), |values, (of, row)| write::step_run(values, of, row)),
    );
    work.bulk(
        sql!("work_item/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.work_items), |values, (of, row)| {
            write::work_item(values, of, row);
        }),
    );
    work.bulk(
        sql!("decision/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.decisions), |values, (of, row)| write::decision(values, of, row)),
    );
    work.bulk(
        sql!("job/delete"),
        Bulk::of(batch.rows(|commit| &commit.changes.jobs_gone), |values, (of, id)| {
            write::owner(values, of);
            values.uuid(Some(id.0));
        }),
    );
    work.bulk(
        sql!("job/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.jobs), |values, (of, row)| {
            write::job(values, of, row, now, batch.publish_grace);
        }),
    );
    work.bulk(
        sql!("timer/delete"),
        Bulk::of(batch.rows(|commit| &commit.changes.timers_gone), |values, (of, kind)| {
            write::timer_key(values, of, *kind);
        }),
    );
    work.bulk(
        sql!("timer/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.timers), |values, (of, row)| write::timer(values, of, row)),
    );
    work.bulk(
        sql!("record_lock/delete"),
        Bulk::of(batch.rows(|commit| &commit.changes.record_locks_gone), |values, (of, id)| {
            write::owner(values, of);
            values.uuid(Some(id.0));
        }),
    );
    work.bulk(
        sql!("record_lock/upsert"),
        Bulk::of(batch.rows(|commit| &commit.changes.record_locks), |values, (of, row)| {
            write::record_lock(values, of, row);
        }),
    );
    let relay_at = batch.relay_at();
    work.bulk(
        sql!("event_outbox/upsert"),
        Bulk::of(batch.announced(), |values, commit| write::outbox(values, commit, relay_at, batch.now)),
    );
    work.bulk(sql!("job/heartbeat"), Bulk::of(batch.heartbeats.iter().copied(), write::heartbeat));
    work.bulk(sql!("request/insert"), Bulk::of(batch.requests.iter().copied(), write::request));
    work
}

pub(super) async fn load(pool: &Pool, wanted: &Wanted) -> Result<Loaded, StoreError> {
    let session = Session::open(pool).await?;
    // Polled from left to right, and so on their way together: one round trip.
    let (events, requests, catalog_versions) = futures::try_join!(
        load_events(&session, &wanted.submissions),
        load_requests(&session, wanted),
        load_catalog_versions(&session, &wanted.tenants),
    )?;
    session.release();
    Ok(Loaded { histories: histories(events), requests, catalog_versions })
}

type OwnedEvent = ((Tenant, SubmissionId), StoredEvent);

async fn load_events(session: &Session, of: &[(Tenant, SubmissionId)]) -> Result<Vec<OwnedEvent>, StoreError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let (tenants, ids) = keys(of);
    let read = |columns: &mut RowColumns| Ok((read::submission_key(columns)?, read::event(columns)?));
    session.rows(sql!("event/load"), &[&tenants, &ids], read).await
}

async fn load_requests(session: &Session, wanted: &Wanted) -> Result<Vec<RequestRow>, StoreError> {
    if wanted.requests.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<&str> = wanted.requests.iter().map(|key| key.tenant.as_str()).collect();
    let principals: Vec<&str> = wanted.requests.iter().map(|key| key.principal.as_str()).collect();
    let ids: Vec<&str> = wanted.requests.iter().map(|key| key.request_id.as_str()).collect();
    session.rows(sql!("request/load"), &[&tenants, &principals, &ids], read::request).await
}

/// The version of each catalog, 0 where nothing is stored.
pub(super) async fn load_catalog_versions(
    session: &Session,
    tenants: &[Tenant],
) -> Result<Vec<(Tenant, u64)>, StoreError> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
    let params: [Param<'_>; 1] = [&names];
    let stored = session
        .rows(sql!("catalog/versions"), &params, |columns| Ok((Tenant(columns.text()?), columns.number()?)))
        .await?;
    let version = |of: &Tenant| stored.iter().find(|(tenant, _)| tenant == of).map_or(0, |(_, version)| *version);
    Ok(tenants.iter().map(|tenant| (tenant.clone(), version(tenant))).collect())
}

/// Puts events that are sorted by submission together.
fn histories(events: Vec<OwnedEvent>) -> Vec<History> {
    let mut histories: Vec<History> = Vec::new();
    for ((tenant, submission), event) in events {
        match histories.last_mut() {
            Some(last) if last.tenant == tenant && last.submission == submission => last.events.push(event),
            _ => histories.push(History { tenant, submission, events: vec![event] }),
        }
    }
    histories
}

/// Keys of submissions as two parameters.
pub(super) fn keys(of: &[(Tenant, SubmissionId)]) -> (Vec<&str>, Vec<Uuid>) {
    of.iter().map(|(tenant, id)| (tenant.as_str(), id.0)).unzip()
}
