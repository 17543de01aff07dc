//! The commit of a lane, and what it loads before.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    claim::hear,
    columns::{Binding, row, rows, write_each},
    error::from_sqlite,
    sql,
};
use crate::{
    StoreError,
    batch::{Checked, check},
    rows::{Columns, Values, read, write},
    store::{Batch, History, Loaded, RequestKey, RequestRow, Wanted},
};

pub(super) fn commit(connection: &mut Connection, batch: &Batch) -> Result<(), StoreError> {
    let batch = check(batch)?;
    in_transaction(connection, |transaction| write_batch(transaction, &batch))
}

/// A transaction that is rolled back when its work fails.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Immediate: another process may be writing, and a transaction that begins by reading could not wait for it.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(from_sqlite)?;
    let done = work(&transaction)?;
    transaction.commit().map_err(from_sqlite)?;
    Ok(done)
}

fn write_batch(to: &Connection, batch: &Checked<'_>) -> Result<(), StoreError> {
    let now = batch.now;
    let expected = batch.changed().count();
    let changed = write_each(to, sql!("submission/update"), batch.changed(), |values, (expected, row)| {
        write::submission(values, row, now);
        values.number(Some(expected.cast_signed()));
    })?;
    if changed != expected {
        return Err(StoreError::Conflict);
    }
    write_each(to, sql!("submission/insert"), batch.made(), |values, row| write::submission(values, row, now))?;
    write_each(to, sql!("event/insert"), batch.rows(|commit| &commit.events), |values, (of, row)| {
        write::event(values, of, row);
    })?;
    write_each(to, sql!("stage_run/upsert"), batch.rows(|commit| &commit.changes.stage_runs), |values, (of, row)| {
        write::stage_run(values, of, row);
    })?;
    write_each(to, sql!("step_run/upsert"), batch.rows(|commit| &commit.changes.step_runs), |values, (of, row)| {
        write::step_run(values, of, row);
    })?;
    write_each(to, sql!("work_item/upsert"), batch.rows(|commit| &commit.changes.work_items), |values, (of, row)| {
        write::work_item(values, of, row);
    })?;
    write_each(to, sql!("decision/upsert"), batch.rows(|commit| &commit.changes.decisions), |values, (of, row)| {
        write::decision(values, of, row);
    })?;
    write_each(to, sql!("job/delete"), batch.rows(|commit| &commit.changes.jobs_gone), |values, (of, id)| {
        write::owner(values, of);
        values.uuid(Some(id.0));
    })?;
    write_each(to, sql!("job/upsert"), batch.rows(|commit| &commit.changes.jobs), |values, (of, row)| {
        write::job(values, of, row, now, batch.publish_grace);
    })?;
    write_each(to, sql!("timer/delete"), batch.rows(|commit| &commit.changes.timers_gone), |values, (of, kind)| {
        write::timer_key(values, of, *kind);
    })?;
    write_each(to, sql!("timer/upsert"), batch.rows(|commit| &commit.changes.timers), |values, (of, row)| {
        write::timer(values, of, row);
    })?;
    write_each(
        to,
        sql!("record_lock/delete"),
        batch.rows(|commit| &commit.changes.record_locks_gone),
        |values, (of, id)| {
            write::owner(values, of);
            values.uuid(Some(id.0));
        },
    )?;
    write_each(
        to,
        sql!("record_lock/upsert"),
        batch.rows(|commit| &commit.changes.record_locks),
        |values, (of, row)| {
            write::record_lock(values, of, row);
        },
    )?;
    let relay_at = batch.relay_at();
    write_each(to, sql!("event_outbox/upsert"), batch.announced(), |values, commit| {
        write::outbox(values, commit, relay_at, batch.now);
    })?;
    for heartbeat in &batch.heartbeats {
        hear(to, heartbeat)?;
    }
    write_each(to, sql!("request/insert"), batch.requests.iter().copied(), write_request)?;
    Ok(())
}

fn write_request(values: &mut Binding<'_>, row: &RequestRow) {
    write::request(values, row);
}

pub(super) fn load(connection: &Connection, wanted: &Wanted) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    for (tenant, submission) in &wanted.submissions {
        // -1: all of it.
        let params = (tenant.as_str(), submission.to_string(), 0, -1);
        let events = rows(connection, sql!("event/page"), params, |columns| read::event(columns))?;
        if !events.is_empty() {
            loaded.histories.push(History { tenant: tenant.clone(), submission: *submission, events });
        }
    }
    for key in &wanted.requests {
        loaded.requests.extend(request(connection, key)?);
    }
    for tenant in &wanted.tenants {
        loaded.catalog_versions.push((tenant.clone(), catalog_version(connection, tenant.as_str())?));
    }
    Ok(loaded)
}

pub(super) fn request(connection: &Connection, key: &RequestKey) -> Result<Option<RequestRow>, StoreError> {
    let params = (key.tenant.as_str(), &key.principal, &key.request_id);
    row(connection, sql!("request/get"), params, |columns| read::request(columns))
}

/// The version of a catalog, 0 when nothing is stored.
pub(super) fn catalog_version(connection: &Connection, tenant: &str) -> Result<u64, StoreError> {
    let version = row(connection, sql!("catalog/version"), [tenant], |columns| columns.number())?;
    Ok(version.unwrap_or_default())
}
