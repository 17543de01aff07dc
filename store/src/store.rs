//! The trait that both stores implement.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    directory::Directory,
    id::{JobId, SubmissionId, Tenant, WorkItemId},
    projection::{Changes, JobRow, Projection, SubmissionRow},
    status::JobStatus,
};

use crate::{
    catalog::{ApiTokenRow, CalendarVersionRow, CatalogChange, FlowVersionRow, ProcessVersionRow},
    locks::{HeldLock, ManualLockChange, ManualLockRow},
    log::{Hash, StoredEvent},
    query::{JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery},
};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed a submission, the catalog, or answered the same request first: load again and decide again.
    /// Nothing was written.
    #[error("the state was changed by another replica")]
    Conflict,
    /// The store cannot be reached, or gave up: trying again later may help. Whether a commit was stored is not known.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The schema is not the one this version needs.
    #[error("{0}")]
    Schema(String),
    /// A fault in the store or in this program: a person must look.
    #[error("the store failed: {0}")]
    Internal(String),
}

/// What a lane needs before it decides a batch.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The submissions whose histories to load.
    pub submissions: Vec<(Tenant, SubmissionId)>,
    /// The requests to look up.
    pub requests: Vec<RequestKey>,
    /// The tenants whose catalog version is asked for.
    pub tenants: Vec<Tenant>,
}

/// The answer to [`Wanted`]: what does not exist is left out.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Whole histories, in order of `seq`.
    pub histories: Vec<History>,
    /// The requests that were answered before.
    pub requests: Vec<RequestRow>,
    /// The catalog versions; 0 where nothing is stored.
    pub catalog_versions: Vec<(Tenant, u64)>,
}

/// All events of one submission.
#[derive(Clone, Debug)]
pub struct History {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub submission: SubmissionId,
    /// In order of `seq`.
    pub events: Vec<StoredEvent>,
}

/// By what a mutating call is known when it comes again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// Whose.
    pub tenant: Tenant,
    /// Who called.
    pub principal: String,
    /// The caller's id for the call.
    pub request_id: String,
}

/// A call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// By what it is known.
    pub key: RequestKey,
    /// SHA-256 over the method and the body: the same id with another body is refused.
    pub digest: Hash,
    /// The submission that it changed.
    pub submission: Option<SubmissionId>,
    /// That submission's version after it: what the first answer showed.
    pub version: u64,
    /// The first answer, encoded, where it is not of a submission.
    pub answer: Option<Vec<u8>>,
    /// When it was answered.
    pub at: Timestamp,
}

/// One commit of a lane: all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Each submission at most once.
    pub submissions: Vec<SubmissionCommit>,
    /// The calls that this commit answers.
    pub requests: Vec<RequestRow>,
    /// Signs of life of running jobs.
    pub heartbeats: Vec<Heartbeat>,
    /// How long the jobs of this batch are left to their own publisher before the relay takes them up.
    pub publish_grace: SignedDuration,
    /// The time now.
    pub now: Option<Timestamp>,
}

/// What one commit writes of one submission.
#[derive(Clone, Debug)]
pub struct SubmissionCommit {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub id: SubmissionId,
    /// The version it was decided on; 0: it is new.
    pub expected_version: u64,
    /// The new entries of the log.
    pub events: Vec<StoredEvent>,
    /// The rows that differ.
    pub changes: Changes,
    /// Whether other systems are to be told of its events: then they are in the outbox of events until
    /// [`Store::mark_events_published`].
    pub announce: bool,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Whose.
    pub tenant: Tenant,
    /// The job's submission.
    pub submission: SubmissionId,
    /// Which job.
    pub job: JobId,
    /// Which attempt: a row that is at another is left alone.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

/// The attempt of a job that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAttempt {
    /// The job.
    pub job: JobId,
    /// Its number.
    pub attempt: u32,
    /// `Running` where a worker said that it started.
    pub status: JobStatus,
}

/// A job with what delivery needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenJobRow {
    /// Whose.
    pub tenant: Tenant,
    /// Its submission.
    pub submission: SubmissionId,
    /// The job; its status is `Published` where the broker confirmed it and no worker has started it.
    pub job: JobRow,
    /// When it was last heard of.
    pub heartbeat_at: Option<Timestamp>,
    /// How often the relay has claimed this attempt.
    pub deliveries: u32,
}

/// The live attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptKey {
    /// Whose.
    pub tenant: Tenant,
    /// Its submission.
    pub submission: SubmissionId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
}

/// Up to where the broker has confirmed the events of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedEvents {
    /// Whose.
    pub tenant: Tenant,
    /// Which submission.
    pub submission: SubmissionId,
    /// The number of the last event that is confirmed, as all before it are; 0: none is.
    pub up_to: u64,
}

/// The open jobs of a task queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQueueLoad {
    /// The task queue.
    pub name: String,
    /// Attempts that are due, and that no worker has said it started.
    pub waiting: u64,
    /// Since when the first of those may be carried out.
    pub oldest_since: Option<Timestamp>,
    /// Attempts that a worker said it started.
    pub running: u64,
    /// Attempts that are not due yet: retries that wait for their time.
    pub later: u64,
}

/// What other systems are still to be told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxLoad {
    /// How many submissions have events in the outbox.
    pub submissions: u64,
    /// Since when the first of them has had some there.
    pub oldest_since: Option<Timestamp>,
}

/// A job whose bound has passed: its lane decides what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct DueJob {
    /// Which attempt.
    pub key: AttemptKey,
    /// When it was last heard of.
    pub heartbeat_at: Option<Timestamp>,
}

/// A store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Brings the schema up to this version: each migration once, in order, one server at a time. Answers the names of those
    /// that were applied now.
    async fn migrate(&self) -> Result<Vec<String>, StoreError>;

    /// Whether the schema is the one this version needs: `Schema` says what is amiss and what to do.
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// Loads what a lane needs, in one round trip.
    async fn load(&self, wanted: &Wanted) -> Result<Loaded, StoreError>;

    /// Commits a batch in one transaction. `Conflict` when a submission is not at its expected version, or a request was
    /// answered by somebody else meanwhile.
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Marks attempts as confirmed by the broker, each to be delivered again at `redeliver_at` unless a worker has started or
    /// ended it by then. Rows that are gone, at another attempt, or started are left alone.
    async fn mark_published(&self, attempts: &[AttemptKey], redeliver_at: Timestamp) -> Result<(), StoreError>;

    /// Makes every open job that no worker has started due for delivery now: for a queue that holds nothing when a server
    /// starts.
    async fn redeliver_all(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Claims jobs that are due for (another) delivery, oldest first, until `claimed_until`: other replicas do not see them
    /// before then.
    async fn claim_deliveries(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OpenJobRow>, StoreError>;

    /// What is in the outbox of events of these submissions; those whose events are all published are left out.
    async fn events_in_outbox(
        &self,
        submissions: &[(Tenant, SubmissionId)],
    ) -> Result<Vec<PublishedEvents>, StoreError>;

    /// Claims submissions that have had events in the outbox for longer than their publisher may take, longest first, until
    /// `claimed_until`: other replicas do not see them before then.
    async fn claim_events(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PublishedEvents>, StoreError>;

    /// Marks events as confirmed by the broker. What has further events stays in the outbox, for the relay from `deliver_at`. A mark
    /// that is behind another is ignored.
    async fn mark_events_published(
        &self,
        published: &[PublishedEvents],
        deliver_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Claims jobs whose deadline or heartbeat bound has passed, until `claimed_until`.
    async fn claim_due(&self, now: Timestamp, claimed_until: Timestamp, limit: u32) -> Result<Vec<DueJob>, StoreError>;

    /// Claims submissions whose stage waits for time to pass (`SubmissionRow::awaits_time`) and that were last claimed, or
    /// written, before `before`; each is not claimed again before that much time has passed once more.
    async fn claim_waiting(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError>;

    /// Claims timers whose moment has come, earliest first, until `claimed_until`, and answers their submissions, which are to be
    /// woken; one with several timers may be named several times. A timer that fires leaves with the commit; one that did not is
    /// claimed again.
    async fn claim_timers(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Tenant, SubmissionId)>, StoreError>;

    /// A page of a submission's history, after `after` (0: from the first).
    async fn history(
        &self,
        tenant: &Tenant,
        submission: SubmissionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// The versions of these submissions, for calls that wait for a change made by another replica.
    async fn versions(&self, submissions: &[(Tenant, SubmissionId)]) -> Result<Vec<(SubmissionId, u64)>, StoreError>;

    /// The submissions of these work items; unknown ones are left out.
    async fn submissions_of(
        &self,
        tenant: &Tenant,
        work_items: &[WorkItemId],
    ) -> Result<Vec<(WorkItemId, SubmissionId)>, StoreError>;

    /// A page of submissions.
    async fn list_submissions(&self, query: &SubmissionQuery) -> Result<Vec<SubmissionRow>, StoreError>;

    /// A page of work items.
    async fn list_work_items(&self, query: &WorkItemQuery) -> Result<Vec<WorkItemEntry>, StoreError>;

    /// A page of open jobs.
    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<OpenJobRow>, StoreError>;

    /// The live attempts of these jobs; a job that has ended is left out.
    async fn live_attempts(
        &self,
        tenant: &Tenant,
        jobs: &[(SubmissionId, JobId)],
    ) -> Result<Vec<LiveAttempt>, StoreError>;

    /// The stored rows of one submission, as a projection (jobs that were published read as `Pending` again): what a replay of
    /// its events has to give. For checks; `None` when there is no such submission.
    async fn projection(&self, tenant: &Tenant, submission: SubmissionId) -> Result<Option<Projection>, StoreError>;

    /// The locks that steps hold on a record, at most so many.
    async fn record_locks(
        &self,
        tenant: &Tenant,
        record: (&str, &str),
        limit: u32,
    ) -> Result<Vec<HeldLock>, StoreError>;

    /// The locks of a record that were set by hand and count at this time, at most so many.
    async fn manual_locks(
        &self,
        tenant: &Tenant,
        record: (&str, &str),
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ManualLockRow>, StoreError>;

    /// Sets a lock by hand, or takes it off. `Conflict` when the request was answered meanwhile.
    async fn change_manual_lock(&self, change: &ManualLockChange) -> Result<(), StoreError>;

    /// The version of a tenant's catalog; 0 when nothing is stored.
    async fn catalog_version(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Everybody.
    async fn directory(&self, tenant: &Tenant) -> Result<Directory, StoreError>;

    /// The active version of every flow.
    async fn active_flows(&self, tenant: &Tenant) -> Result<Vec<FlowVersionRow>, StoreError>;

    /// A version of a process; `None` for the version: the active one.
    async fn process_version(
        &self,
        tenant: &Tenant,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<ProcessVersionRow>, StoreError>;

    /// The versions of a process, newest first, below `before`.
    async fn process_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError>;

    /// Processes by name, each in its active or else newest version, after `after`.
    async fn list_processes(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ProcessVersionRow>, StoreError>;

    /// The versions of a flow, newest first, below `before`.
    async fn flow_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError>;

    /// Flows by name, each in its active or else newest version, after `after`.
    async fn list_flows(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FlowVersionRow>, StoreError>;

    /// The active version of every calendar.
    async fn active_calendars(&self, tenant: &Tenant) -> Result<Vec<CalendarVersionRow>, StoreError>;

    /// The versions of a calendar, newest first, below `before`.
    async fn calendar_versions(
        &self,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError>;

    /// Calendars by name, each in its active or else newest version, after `after`.
    async fn list_calendars(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CalendarVersionRow>, StoreError>;

    /// Changes the catalog in one transaction and answers its new version. `Conflict` when it is not at the expected version,
    /// or the request was answered meanwhile.
    async fn change_catalog(&self, change: &CatalogChange) -> Result<u64, StoreError>;

    /// A call that was answered before.
    async fn request(&self, key: &RequestKey) -> Result<Option<RequestRow>, StoreError>;

    /// Forgets calls that were answered before `before`, at most `limit` of them. Answers how many.
    async fn forget_requests(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Stores an API token.
    async fn put_api_token(&self, token: &ApiTokenRow) -> Result<(), StoreError>;

    /// The API token with this hash.
    async fn api_token(&self, hash: &Hash) -> Result<Option<ApiTokenRow>, StoreError>;

    /// All API tokens, by id.
    async fn list_api_tokens(&self) -> Result<Vec<ApiTokenRow>, StoreError>;

    /// Deletes an API token by its public id. Answers whether it existed.
    async fn delete_api_token(&self, id: &str) -> Result<bool, StoreError>;

    /// What is open in each task queue that has open jobs, by its name.
    async fn task_queues(&self, tenant: &Tenant, now: Timestamp) -> Result<Vec<TaskQueueLoad>, StoreError>;

    /// What is in the outbox of events, for metrics.
    async fn outbox_load(&self, tenant: &Tenant) -> Result<OutboxLoad, StoreError>;

    /// How many jobs are open in each status, for health and metrics.
    async fn count_jobs(&self, tenant: &Tenant) -> Result<Vec<(JobStatus, u64)>, StoreError>;
}
