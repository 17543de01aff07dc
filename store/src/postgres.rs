//! The store on PostgreSQL (15 or later), one database for all replicas.
//!
//! Everything that belongs together is sent together: a load is one round trip, a commit is one for its statements and one for
//! `commit`. Statements are prepared once for each connection.

mod catalog;
mod claim;
mod columns;
mod commit;
mod connect;
mod error;
mod list;
mod migrate;
mod session;
mod transaction;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use jiff::Timestamp;
use quorate_engine::{
    directory::Directory,
    id::{JobId, SubmissionId, Tenant, WorkItemId},
    projection::{Projection, SubmissionRow},
    status::JobStatus,
};
use session::{Param, Session, bounded};

use crate::{
    StoreError,
    catalog::{ApiTokenRow, CalendarVersionRow, CatalogChange, FlowVersionRow, ProcessVersionRow},
    locks::{HeldLock, ManualLockChange, ManualLockRow},
    log::{Hash, StoredEvent},
    query::{JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery},
    rows::read,
    store::{
        AttemptKey, Batch, DueJob, LiveAttempt, Loaded, OpenJobRow, OutboxLoad, PublishedEvents, RequestKey,
        RequestRow, Store, TaskQueueLoad, Wanted,
    },
};

/// A statement of `store/sql/postgres`, by its table and verb.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/postgres/", $name, ".sql"))
    };
}
use sql;

/// How many connections a server holds, when nobody says otherwise: a few lanes that commit, the relay, and the calls that
/// read. More of them make the database slower, not faster.
pub const POOL_SIZE_DEFAULT: usize = 10;

/// The store on PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// A store on the database of a `postgres://…` URL, with at most `pool_size` connections, of which one is made now.
    ///
    /// A connection has to be made within 5 s, one has to become free within 5 s, a statement may take 30 s (the URL may say
    /// otherwise: `options=-c statement_timeout=…`), and an operation 40 s in all. Connections are not encrypted: a URL that
    /// asks for TLS is refused.
    pub async fn connect(url: &str, pool_size: usize) -> Result<Self, StoreError> {
        let pool = connect::pool(url, pool_size)?;
        Session::open(&pool).await?.release();
        Ok(Self { pool })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        // Not bounded: a migration takes the time that it takes.
        migrate::migrate(&self.pool).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        bounded(migrate::check_schema(&self.pool)).await
    }

    async fn load(&self, wanted: &Wanted) -> Result<Loaded, StoreError> {
        bounded(commit::load(&self.pool, wanted)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        bounded(commit::commit(&self.pool, batch)).await
    }

    async fn mark_published(&self, attempts: &[AttemptKey], redeliver_at: Timestamp) -> Result<(), StoreError> {
        bounded(claim::mark_published(&self.pool, attempts, redeliver_at)).await
    }

    async fn redeliver_all(&self, now: Timestamp) -> Result<(), StoreError> {
        bounded(claim::redeliver_all(&self.pool, now)).await
    }

    async fn claim_deliveries(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OpenJobRow>, StoreError> {
        bounded(claim::claim_deliveries(&self.pool, now, claimed_until, limit)).await
    }

    async fn events_in_outbox(
        &self,
        submissions: &[(Tenant, SubmissionId)],
    ) -> Result<Vec<PublishedEvents>, StoreError> {
        let (tenants, ids) = commit::keys(submissions);
        let params: [Param<'_>; 2] = [&tenants, &ids];
        bounded(catalog::rows(&self.pool, sql!("event_outbox/load"), &params, read::published_events)).await
    }

    async fn claim_events(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PublishedEvents>, StoreError> {
        bounded(claim::claim_events(&self.pool, now, claimed_until, limit)).await
    }

    async fn mark_events_published(
        &self,
        published: &[PublishedEvents],
        deliver_at: Timestamp,
    ) -> Result<(), StoreError> {
        bounded(claim::mark_events_published(&self.pool, published, deliver_at)).await
    }

    async fn claim_due(&self, now: Timestamp, claimed_until: Timestamp, limit: u32) -> Result<Vec<DueJob>, StoreError> {
        bounded(claim::claim_due(&self.pool, now, claimed_until, limit)).await
    }

    async fn claim_waiting(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
        bounded(claim::claim_waiting(&self.pool, now, before, limit)).await
    }

    async fn claim_timers(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError> {
        bounded(claim::claim_timers(&self.pool, now, claimed_until, limit)).await
    }

    async fn history(
        &self,
        tenant: &Tenant,
        submission: SubmissionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        bounded(list::history(&self.pool, tenant, submission, after, limit)).await
    }

    async fn versions(&self, submissions: &[(Tenant, SubmissionId)]) -> Result<Vec<(SubmissionId, u64)>, StoreError> {
        bounded(list::versions(&self.pool, submissions)).await
    }

    async fn submissions_of(
        &self,
        tenant: &Tenant,
        work_items: &[WorkItemId],
    ) -> Result<Vec<(WorkItemId, SubmissionId)>, StoreError> {
        bounded(list::submissions_of(&self.pool, tenant, work_items)).await
    }

    async fn list_submissions(&self, query: &SubmissionQuery) -> Result<Vec<SubmissionRow>, StoreError> {
        bounded(list::list_submissions(&self.pool, query)).await
    }

    async fn list_work_items(&self, query: &WorkItemQuery) -> Result<Vec<WorkItemEntry>, StoreError> {
        bounded(list::list_work_items(&self.pool, query)).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<OpenJobRow>, StoreError> {
        bounded(list::list_jobs(&self.pool, query)).await
    }

    async fn live_attempts(
        &self,
        tenant: &Tenant,
        jobs: &[(SubmissionId, JobId)],
    ) -> Result<Vec<LiveAttempt>, StoreError> {
        bounded(list::live_attempts(&self.pool, tenant, jobs)).await
    }

    async fn projection(&self, tenant: &Tenant, submission: SubmissionId) -> Result<Option<Projection>, StoreError> {
        // Boxed: six reads under way at once are a large future.
        bounded(Box::pin(list::projection(&self.pool, tenant, submission))).await
    }

    async fn record_locks(
        &self,
        tenant: &Tenant,
        (record_type, record_id): (&str, &str),
        limit: u32,
    ) -> Result<Vec<HeldLock>, StoreError> {
        let params: [Param<'_>; 4] = [&tenant.as_str(), &record_type, &record_id, &i64::from(limit)];
        bounded(catalog::rows(&self.pool, sql!("record_lock/of_record"), &params, read::held_lock)).await
    }

    async fn manual_locks(
        &self,
        tenant: &Tenant,
        (record_type, record_id): (&str, &str),
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ManualLockRow>, StoreError> {
        let params: [Param<'_>; 5] = [&tenant.as_str(), &record_type, &record_id, &now, &i64::from(limit)];
        bounded(catalog::rows(&self.pool, sql!("manual_lock/of_record"), &params, read::manual_lock)).await
    }

    async fn change_manual_lock(&self, change: &ManualLockChange) -> Result<(), StoreError> {
        bounded(catalog::change_manual_lock(&self.pool, change)).await
    }

    async fn catalog_version(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        bounded(catalog::catalog_version(&self.pool, tenant)).await
    }

    async fn directory(&self, tenant: &Tenant) -> Result<Directory, StoreError> {
        bounded(catalog::directory(&self.pool, tenant)).await
    }

    async fn active_flows(&self, tenant: &Tenant) -> Result<Vec<FlowVersionRow>, StoreError> {
        bounded(catalog::rows(&self.pool, sql!("flow_version/active"), &[&tenant.as_str()], read::flow_version)).await
    }

    async fn process_version(
        &self,
        tenant: &Tenant,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<ProcessVersionRow>, StoreError> {
        let (of, version) = (tenant.as_str(), version.map(i64::from));
        let mut rows = if let Some(version) = &version {
            let params: [Param<'_>; 3] = [&of, &name, version];
            bounded(catalog::rows(&self.pool, sql!("process_version/get"), &params, read::process_version)).await?
        } else {
            let params: [Param<'_>; 2] = [&of, &name];
            bounded(catalog::rows(&self.pool, sql!("process_version/active"), &params, read::process_version)).await?
        };
        Ok(rows.pop())
    }

    async fn process_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError> {
        bounded(catalog::page(
            &self.pool,
            sql!("process_version/page"),
            (tenant, name),
            before,
            limit,
            read::process_version,
        ))
        .await
    }

    async fn list_processes(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError> {
        bounded(catalog::list(&self.pool, sql!("process_version/list"), tenant, after, limit, read::process_version))
            .await
    }

    async fn flow_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError> {
        bounded(catalog::page(&self.pool, sql!("flow_version/page"), (tenant, name), before, limit, read::flow_version))
            .await
    }

    async fn list_flows(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError> {
        bounded(catalog::list(&self.pool, sql!("flow_version/list"), tenant, after, limit, read::flow_version)).await
    }

    async fn active_calendars(&self, tenant: &Tenant) -> Result<Vec<CalendarVersionRow>, StoreError> {
        bounded(catalog::rows(&self.pool, sql!("calendar_version/active"), &[&tenant.as_str()], read::calendar_version))
            .await
    }

    async fn calendar_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError> {
        bounded(catalog::page(
            &self.pool,
            sql!("calendar_version/page"),
            (tenant, name),
            before,
            limit,
            read::calendar_version,
        ))
        .await
    }

    async fn list_calendars(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError> {
        bounded(catalog::list(&self.pool, sql!("calendar_version/list"), tenant, after, limit, read::calendar_version))
            .await
    }

    async fn change_catalog(&self, change: &CatalogChange) -> Result<u64, StoreError> {
        bounded(catalog::change(&self.pool, change)).await
    }

    async fn request(&self, key: &RequestKey) -> Result<Option<RequestRow>, StoreError> {
        bounded(catalog::request(&self.pool, key)).await
    }

    async fn forget_requests(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        bounded(catalog::forget_requests(&self.pool, before, limit)).await
    }

    async fn put_api_token(&self, token: &ApiTokenRow) -> Result<(), StoreError> {
        bounded(catalog::put_api_token(&self.pool, token)).await
    }

    async fn api_token(&self, hash: &Hash) -> Result<Option<ApiTokenRow>, StoreError> {
        bounded(catalog::api_token(&self.pool, hash)).await
    }

    async fn list_api_tokens(&self) -> Result<Vec<ApiTokenRow>, StoreError> {
        bounded(catalog::rows(&self.pool, sql!("api_token/list"), &[], read::api_token)).await
    }

    async fn delete_api_token(&self, id: &str) -> Result<bool, StoreError> {
        bounded(catalog::delete_api_token(&self.pool, id)).await
    }

    async fn task_queues(&self, tenant: &Tenant, now: Timestamp) -> Result<Vec<TaskQueueLoad>, StoreError> {
        let params: [Param<'_>; 2] = [&tenant.as_str(), &now];
        bounded(catalog::rows(&self.pool, sql!("job/by_task_queue"), &params, read::task_queue_load)).await
    }

    async fn outbox_load(&self, tenant: &Tenant) -> Result<OutboxLoad, StoreError> {
        let params: [Param<'_>; 1] = [&tenant.as_str()];
        let rows = bounded(catalog::rows(&self.pool, sql!("event_outbox/load_of_all"), &params, read::outbox_load));
        Ok(rows.await?.into_iter().next().unwrap_or_default())
    }

    async fn count_jobs(&self, tenant: &Tenant) -> Result<Vec<(JobStatus, u64)>, StoreError> {
        bounded(list::count_jobs(&self.pool, tenant)).await
    }
}
