//! The outbox and the timers: what is claimed, and what the broker has confirmed.

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    id::{SubmissionId, Tenant},
    status::JobStatus,
};
use rusqlite::{Connection, Transaction};

use super::{
    columns::{row, rows, time_text, write_each},
    commit::in_transaction,
    error::from_sqlite,
    sql,
};
use crate::{
    StoreError,
    rows::{Columns, Values, due_at, read, write},
    store::{AttemptKey, DueJob, Heartbeat, OpenJobRow, PublishedEvents},
};

pub(super) fn mark_published(
    connection: &mut Connection,
    attempts: &[AttemptKey],
    redeliver_at: Timestamp,
) -> Result<(), StoreError> {
    relaxed(connection, |transaction| {
        write_each(transaction, sql!("job/mark_published"), attempts, |values, attempt| {
            write::attempt(values, attempt);
            values.time(Some(redeliver_at));
        })?;
        Ok(())
    })
}

pub(super) fn redeliver_all(connection: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    relaxed(connection, |transaction| {
        write_each(transaction, sql!("job/redeliver_all"), [now], |values, now| values.time(Some(now)))?;
        Ok(())
    })
}

pub(super) fn claim_deliveries(
    connection: &mut Connection,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<OpenJobRow>, StoreError> {
    relaxed(connection, |transaction| {
        let params = (time_text(now), limit);
        let claimed = rows(transaction, sql!("job/to_deliver"), params, |columns| read::open_job(columns))?;
        write_each(transaction, sql!("job/claim_delivery"), &claimed, |values, row| {
            write::owner(values, write::Owner { tenant: &row.tenant, submission: row.submission });
            values.uuid(Some(row.job.id.0));
            values.time(Some(claimed_until));
        })?;
        Ok(claimed)
    })
}

pub(super) fn claim_events(
    connection: &mut Connection,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<PublishedEvents>, StoreError> {
    relaxed(connection, |transaction| {
        let params = (time_text(now), limit);
        let claimed = rows(transaction, sql!("event_outbox/due"), params, |columns| read::published_events(columns))?;
        write_each(transaction, sql!("event_outbox/claim"), &claimed, |values, row| {
            write::owner(values, write::Owner { tenant: &row.tenant, submission: row.submission });
            values.time(Some(claimed_until));
        })?;
        Ok(claimed)
    })
}

pub(super) fn mark_events_published(
    connection: &mut Connection,
    published: &[PublishedEvents],
    deliver_at: Timestamp,
) -> Result<(), StoreError> {
    relaxed(connection, |transaction| {
        write_each(transaction, sql!("event_outbox/mark_published"), published, |values, row| {
            write::published_events(values, row);
            values.time(Some(deliver_at));
        })?;
        write_each(transaction, sql!("event_outbox/delete_published"), published, |values, row| {
            write::owner(values, write::Owner { tenant: &row.tenant, submission: row.submission });
        })?;
        Ok(())
    })
}

pub(super) fn claim_due(
    connection: &mut Connection,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<DueJob>, StoreError> {
    relaxed(connection, |transaction| {
        let params = (time_text(now), time_text(claimed_until), limit);
        rows(transaction, sql!("job/claim_due"), params, |columns| read::due_job(columns))
    })
}

pub(super) fn claim_waiting(
    connection: &mut Connection,
    now: Timestamp,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
    relaxed(connection, |transaction| {
        let params = (time_text(now), time_text(before), limit);
        rows(transaction, sql!("submission/claim_waiting"), params, |columns| read::submission_key(columns))
    })
}

pub(super) fn claim_timers(
    connection: &mut Connection,
    now: Timestamp,
    claimed_until: Timestamp,
    limit: u32,
) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
    relaxed(connection, |transaction| {
        let params = (time_text(now), time_text(claimed_until), limit);
        rows(transaction, sql!("timer/claim"), params, |columns| read::submission_key(columns))
    })
}

/// Notes a sign of life of a job that is at this attempt.
pub(super) fn hear(connection: &Connection, beat: &Heartbeat) -> Result<(), StoreError> {
    let key = (beat.tenant.as_str(), beat.submission.to_string(), beat.job.to_string(), beat.attempt);
    let job = row(connection, sql!("job/heartbeat_state"), key, |columns| {
        Ok((
            columns.word(JobStatus::parse)?,
            columns.time_or_null()?,
            columns.number_or_null()?.map(SignedDuration::from_millis),
            columns.time_or_null()?,
        ))
    })?;
    let Some((status, deadline, timeout, heard_at)) = job else {
        return Ok(());
    };
    let heard_at = heard_at.max(Some(beat.at));
    let running = status == JobStatus::Running;
    write_each(connection, sql!("job/heartbeat"), [beat], |values, beat| {
        write::owner(values, write::Owner { tenant: &beat.tenant, submission: beat.submission });
        values.uuid(Some(beat.job.0));
        values.time(heard_at);
        values.time(due_at(deadline, heard_at.filter(|_| running), timeout));
    })?;
    Ok(())
}

/// A transaction that does not wait for the disk: losing the last claims and marks in a crash of the machine costs one more
/// delivery, or one more look. The next commit brings it to the disk with its own.
fn relaxed<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.pragma_update(None, "synchronous", "normal").map_err(from_sqlite)?;
    let done = in_transaction(connection, work);
    connection.pragma_update(None, "synchronous", "full").map_err(from_sqlite)?;
    done
}
