//! The store on SQLite, bundled: one file, one server.
//!
//! One thread writes, a few read beside it (WAL). A commit waits for the disk (`synchronous=FULL`).

mod catalog;
mod claim;
mod columns;
mod commit;
mod error;
mod list;
mod migrate;
mod threads;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use columns::{RowColumns, row, rows, time_text, write_each};
use error::from_sqlite;
use jiff::Timestamp;
use quorate_engine::{
    directory::Directory,
    id::{JobId, SubmissionId, Tenant, WorkItemId},
    projection::{Projection, SubmissionRow},
    status::JobStatus,
};
use rusqlite::Connection;
use threads::Threads;

use crate::{
    StoreError,
    catalog::{ApiTokenRow, CalendarVersionRow, CatalogChange, FlowVersionRow, ProcessVersionRow},
    locks::{HeldLock, ManualLockChange, ManualLockRow},
    log::{Hash, StoredEvent},
    query::{JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery, page_rows},
    rows::{Columns, read, write},
    store::{
        AttemptKey, Batch, DueJob, LiveAttempt, Loaded, OpenJobRow, OutboxLoad, PublishedEvents, RequestKey,
        RequestRow, Store, TaskQueueLoad, Wanted,
    },
};

/// A statement of `store/sql/sqlite`, by its table and verb.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/sqlite/", $name, ".sql"))
    };
}
use sql;

/// How many connections read: enough for the calls of an embedded store, each with a small cache of its own.
const READERS: usize = 4;

/// How long a statement waits for a lock that another process holds: a migration by the command line, or a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the file the writer keeps in memory, in KiB: the inner pages of the indexes of a few million rows.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// How many statements a connection keeps prepared: all there are.
const STATEMENTS_MAX: usize = 128;

/// The store on SQLite.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: Threads,
    readers: Threads,
}

impl SqliteStore {
    /// A store on this file, which is made where there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let open = || {
            Connection::open(path).and_then(prepared).map_err(|error| {
                StoreError::Unavailable(format!("the store {} cannot be opened: {error}", path.display()))
            })
        };
        let writer = open()?;
        writer.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(from_sqlite)?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let reader = open()?;
            reader.pragma_update(None, "query_only", true).map_err(from_sqlite)?;
            readers.push(reader);
        }
        Ok(Self {
            writer: Threads::start("store-writer", vec![writer])?,
            readers: Threads::start("store-reader", readers)?,
        })
    }

    /// A store in memory, gone when the last handle is dropped. One connection does all.
    pub fn in_memory() -> Result<Self, StoreError> {
        let connection = Connection::open_in_memory().and_then(prepared).map_err(from_sqlite)?;
        let writer = Threads::start("store", vec![connection])?;
        Ok(Self { readers: writer.clone(), writer })
    }
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.writer.call(migrate::migrate).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        self.readers.call(move |connection| migrate::check_schema(connection)).await
    }

    async fn load(&self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        let wanted = wanted.clone();
        self.readers.call(move |connection| commit::load(connection, &wanted)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let batch = batch.clone();
        self.writer.call(move |connection| commit::commit(connection, &batch)).await
    }

    async fn mark_published(&self, attempts: &[AttemptKey], redeliver_at: Timestamp) -> Result<(), StoreError> {
        let attempts = attempts.to_vec();
        self.writer.call(move |connection| claim::mark_published(connection, &attempts, redeliver_at)).await
    }

    async fn redeliver_all(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer.call(move |connection| claim::redeliver_all(connection, now)).await
    }

    async fn claim_deliveries(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OpenJobRow>, StoreError> {
        self.writer.call(move |connection| claim::claim_deliveries(connection, now, claimed_until, limit)).await
    }

    async fn events_in_outbox(
        &self,
        submissions: &[(Tenant, SubmissionId)],
    ) -> Result<Vec<PublishedEvents>, StoreError> {
        let submissions = submissions.to_vec();
        self.readers
            .call(move |connection| {
                let mut found = Vec::new();
                for (tenant, submission) in submissions {
                    let params = (tenant.as_str(), submission.to_string());
                    let up_to = row(connection, sql!("event_outbox/get"), params, |columns| columns.number())?;
                    found.extend(up_to.map(|up_to| PublishedEvents { tenant, submission, up_to }));
                }
                Ok(found)
            })
            .await
    }

    async fn claim_events(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PublishedEvents>, StoreError> {
        self.writer.call(move |connection| claim::claim_events(connection, now, claimed_until, limit)).await
    }

    async fn mark_events_published(
        &self,
        published: &[PublishedEvents],
        deliver_at: Timestamp,
    ) -> Result<(), StoreError> {
        let published = published.to_vec();
        self.writer.call(move |connection| claim::mark_events_published(connection, &published, deliver_at)).await
    }

    async fn claim_due(&self, now: Timestamp, claimed_until: Timestamp, limit: u32) -> Result<Vec<DueJob>, StoreError> {
        self.writer.call(move |connection| claim::claim_due(connection, now, claimed_until, limit)).await
    }

    async fn claim_waiting(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
        self.writer.call(move |connection| claim::claim_waiting(connection, now, before, limit)).await
    }

    async fn claim_timers(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
        self.writer.call(move |connection| claim::claim_timers(connection, now, claimed_until, limit)).await
    }

    async fn history(
        &self,
        tenant: &Tenant,
        submission: SubmissionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let tenant = tenant.clone();
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), submission.to_string(), after.cast_signed(), page_rows(limit));
                rows(connection, sql!("event/page"), params, |columns| read::event(columns))
            })
            .await
    }

    async fn versions(&self, submissions: &[(Tenant, SubmissionId)]) -> Result<Vec<(SubmissionId, u64)>, StoreError> {
        let submissions = submissions.to_vec();
        self.readers
            .call(move |connection| {
                let mut versions = Vec::new();
                for (tenant, id) in &submissions {
                    let params = (tenant.as_str(), id.to_string());
                    let version = row(connection, sql!("submission/version"), params, |columns| columns.number())?;
                    versions.extend(version.map(|version| (*id, version)));
                }
                Ok(versions)
            })
            .await
    }

    async fn submissions_of(
        &self,
        tenant: &Tenant,
        work_items: &[WorkItemId],
    ) -> Result<Vec<(WorkItemId, SubmissionId)>, StoreError> {
        let (tenant, work_items) = (tenant.clone(), work_items.to_vec());
        self.readers
            .call(move |connection| {
                let mut found = Vec::new();
                for id in &work_items {
                    let params = (tenant.as_str(), id.to_string());
                    let submission =
                        row(connection, sql!("work_item/submission_of"), params, |columns| columns.uuid())?;
                    found.extend(submission.map(|submission| (*id, SubmissionId(submission))));
                }
                Ok(found)
            })
            .await
    }

    async fn list_submissions(&self, query: &SubmissionQuery) -> Result<Vec<SubmissionRow>, StoreError> {
        let query = query.clone();
        self.readers.call(move |connection| list::list_submissions(connection, &query)).await
    }

    async fn list_work_items(&self, query: &WorkItemQuery) -> Result<Vec<WorkItemEntry>, StoreError> {
        let query = query.clone();
        self.readers.call(move |connection| list::list_work_items(connection, &query)).await
    }

    async fn live_attempts(
        &self,
        tenant: &Tenant,
        jobs: &[(SubmissionId, JobId)],
    ) -> Result<Vec<LiveAttempt>, StoreError> {
        let (tenant, jobs) = (tenant.clone(), jobs.to_vec());
        self.readers.call(move |connection| list::live_attempts(connection, &tenant, &jobs)).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<OpenJobRow>, StoreError> {
        let query = query.clone();
        self.readers.call(move |connection| list::list_jobs(connection, &query)).await
    }

    async fn projection(&self, tenant: &Tenant, submission: SubmissionId) -> Result<Option<Projection>, StoreError> {
        let tenant = tenant.clone();
        self.readers.call(move |connection| list::projection(connection, &tenant, submission)).await
    }

    async fn record_locks(
        &self,
        tenant: &Tenant,
        (record_type, record_id): (&str, &str),
        limit: u32,
    ) -> Result<Vec<HeldLock>, StoreError> {
        let (tenant, record_type, record_id) = (tenant.clone(), record_type.to_owned(), record_id.to_owned());
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), record_type, record_id, limit);
                rows(connection, sql!("record_lock/of_record"), params, |columns| read::held_lock(columns))
            })
            .await
    }

    async fn manual_locks(
        &self,
        tenant: &Tenant,
        (record_type, record_id): (&str, &str),
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ManualLockRow>, StoreError> {
        let (tenant, record_type, record_id) = (tenant.clone(), record_type.to_owned(), record_id.to_owned());
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), record_type, record_id, time_text(now), limit);
                rows(connection, sql!("manual_lock/of_record"), params, |columns| read::manual_lock(columns))
            })
            .await
    }

    async fn change_manual_lock(&self, change: &ManualLockChange) -> Result<(), StoreError> {
        let change = change.clone();
        self.writer.call(move |connection| catalog::change_manual_lock(connection, &change)).await
    }

    async fn catalog_version(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let tenant = tenant.clone();
        self.readers.call(move |connection| commit::catalog_version(connection, tenant.as_str())).await
    }

    async fn directory(&self, tenant: &Tenant) -> Result<Directory, StoreError> {
        let tenant = tenant.clone();
        self.readers.call(move |connection| catalog::directory(connection, &tenant)).await
    }

    async fn active_flows(&self, tenant: &Tenant) -> Result<Vec<FlowVersionRow>, StoreError> {
        let tenant = tenant.clone();
        self.readers
            .call(move |connection| {
                rows(connection, sql!("flow_version/active"), [tenant.as_str()], |columns| read::flow_version(columns))
            })
            .await
    }

    async fn process_version(
        &self,
        tenant: &Tenant,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<ProcessVersionRow>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.readers
            .call(move |connection| {
                let of = tenant.as_str();
                let read = |columns: &mut RowColumns<'_>| read::process_version(columns);
                match version {
                    Some(version) => row(connection, sql!("process_version/get"), (of, name, version), read),
                    None => row(connection, sql!("process_version/active"), (of, name), read),
                }
            })
            .await
    }

    async fn process_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), name, before, page_rows(limit));
                rows(connection, sql!("process_version/page"), params, |columns| read::process_version(columns))
            })
            .await
    }

    async fn list_processes(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.map(str::to_owned));
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), after, page_rows(limit));
                rows(connection, sql!("process_version/list"), params, |columns| read::process_version(columns))
            })
            .await
    }

    async fn flow_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), name, before, page_rows(limit));
                rows(connection, sql!("flow_version/page"), params, |columns| read::flow_version(columns))
            })
            .await
    }

    async fn list_flows(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.map(str::to_owned));
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), after, page_rows(limit));
                rows(connection, sql!("flow_version/list"), params, |columns| read::flow_version(columns))
            })
            .await
    }

    async fn active_calendars(&self, tenant: &Tenant) -> Result<Vec<CalendarVersionRow>, StoreError> {
        let tenant = tenant.clone();
        self.readers
            .call(move |connection| {
                rows(connection, sql!("calendar_version/active"), [tenant.as_str()], |columns| {
                    read::calendar_version(columns)
                })
            })
            .await
    }

    async fn calendar_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), name, before, page_rows(limit));
                rows(connection, sql!("calendar_version/page"), params, |columns| read::calendar_version(columns))
            })
            .await
    }

    async fn list_calendars(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.map(str::to_owned));
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), after, page_rows(limit));
                rows(connection, sql!("calendar_version/list"), params, |columns| read::calendar_version(columns))
            })
            .await
    }

    async fn change_catalog(&self, change: &CatalogChange) -> Result<u64, StoreError> {
        let change = change.clone();
        self.writer.call(move |connection| catalog::change(connection, &change)).await
    }

    async fn request(&self, key: &RequestKey) -> Result<Option<RequestRow>, StoreError> {
        let key = key.clone();
        self.readers.call(move |connection| commit::request(connection, &key)).await
    }

    async fn forget_requests(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .call(move |connection| {
                connection
                    .prepare_cached(sql!("request/forget"))
                    .and_then(|mut forget| forget.execute((time_text(before), limit)))
                    .map(|count| count as u64)
                    .map_err(from_sqlite)
            })
            .await
    }

    async fn put_api_token(&self, token: &ApiTokenRow) -> Result<(), StoreError> {
        let token = token.clone();
        self.writer
            .call(move |connection| {
                write_each(connection, sql!("api_token/insert"), [&token], |values, row| {
                    write::api_token(values, row);
                })?;
                Ok(())
            })
            .await
    }

    async fn api_token(&self, hash: &Hash) -> Result<Option<ApiTokenRow>, StoreError> {
        let hash = hash.to_owned();
        self.readers
            .call(move |connection| row(connection, sql!("api_token/get"), [hash], |columns| read::api_token(columns)))
            .await
    }

    async fn list_api_tokens(&self) -> Result<Vec<ApiTokenRow>, StoreError> {
        self.readers
            .call(move |connection| rows(connection, sql!("api_token/list"), [], |columns| read::api_token(columns)))
            .await
    }

    async fn delete_api_token(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.writer
            .call(move |connection| {
                connection.execute(sql!("api_token/delete"), [id]).map(|count| count > 0).map_err(from_sqlite)
            })
            .await
    }

    async fn task_queues(&self, tenant: &Tenant, now: Timestamp) -> Result<Vec<TaskQueueLoad>, StoreError> {
        let tenant = tenant.clone();
        self.readers
            .call(move |connection| {
                let params = (tenant.as_str(), time_text(now));
                rows(connection, sql!("job/by_task_queue"), params, |columns| read::task_queue_load(columns))
            })
            .await
    }

    async fn outbox_load(&self, tenant: &Tenant) -> Result<OutboxLoad, StoreError> {
        let tenant = tenant.clone();
        let load = self.readers.call(move |connection| {
            let params = [tenant.as_str()];
            rows(connection, sql!("event_outbox/load_of_all"), params, |columns| read::outbox_load(columns))
        });
        Ok(load.await?.into_iter().next().unwrap_or_default())
    }

    async fn count_jobs(&self, tenant: &Tenant) -> Result<Vec<(JobStatus, u64)>, StoreError> {
        let tenant = tenant.clone();
        self.readers
            .call(move |connection| {
                rows(connection, sql!("job/count"), [tenant.as_str()], |columns| read::job_count(columns))
            })
            .await
    }
}
