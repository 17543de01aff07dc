//! `JobService`: workers that come over gRPC, and operators who look at what is open.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use quorate_engine::{
    id::{JobId, SubmissionId},
    refusal::Refusal,
    status::JobStatus,
};
use quorate_store::query::JobQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    auth::Role,
    proto::v1::{self, job_service_server::JobService},
    queue::Acknowledge,
    scheduler::{Rejection, ReportError, task_queues::TaskQueue},
};

use super::{Api, call::parse_id, convert, errors, filter, pages};

/// How many jobs a worker may hold at once.
const CONCURRENCY_MAX: u16 = 1_000;

/// How many it holds where it does not say.
const CONCURRENCY: u16 = 16;

/// How many task queues one worker may serve.
const TASK_QUEUES_MAX: usize = 100;

/// After which time a streamed job is acknowledged although it has not been reported: it lives by heartbeats and timeouts from
/// then on, since a broker closes channels that hold a delivery too long (DESIGN 6).
const HELD_MAX: Duration = Duration::from_mins(5);

/// How often streams look for such jobs.
const HELD_LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Who may look at jobs.
const READERS: &[Role] = &[Role::Worker, Role::Designer, Role::Auditor];

/// Deliveries that workers hold, so that a report can settle them.
#[derive(Clone, Default)]
pub(super) struct Held {
    deliveries: Arc<Mutex<Deliveries>>,
}

type Deliveries = BTreeMap<(String, u32), (Instant, Box<dyn Acknowledge>)>;

impl Held {
    fn hold(&self, job: &v1::Job, acknowledge: Box<dyn Acknowledge>) {
        self.lock().insert((job.job.clone(), job.attempt), (Instant::now(), acknowledge));
    }

    fn take(&self, job: &str, attempt: u32) -> Option<Box<dyn Acknowledge>> {
        self.lock().remove(&(job.to_owned(), attempt)).map(|(_, acknowledge)| acknowledge)
    }

    fn take_older_than(&self, age: Duration) -> Vec<Box<dyn Acknowledge>> {
        self.lock().extract_if(.., |_, (since, _)| since.elapsed() > age).map(|(_, (_, held))| held).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        // A panic while the lock was held leaves the map whole: every change is one call.
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl JobService for Api {
    type StreamJobsStream = Pin<Box<dyn Stream<Item = Result<v1::JobServiceStreamJobsResponse, Status>> + Send>>;

    async fn stream_jobs(
        &self,
        request: Request<v1::JobServiceStreamJobsRequest>,
    ) -> Result<Response<Self::StreamJobsStream>, Status> {
        let (_, message) = self.caller(request, &[Role::Worker]).await?;
        let mut task_queues = message.task_queues;
        if task_queues.is_empty() {
            task_queues.push("default".to_owned());
        }
        if task_queues.len() > TASK_QUEUES_MAX {
            return Err(errors::invalid_field("task_queues", format!("has to hold at most {TASK_QUEUES_MAX} names")));
        }
        let concurrency = match u16::try_from(message.concurrency) {
            Ok(0) => CONCURRENCY,
            Ok(count) if count <= CONCURRENCY_MAX => count,
            _ => return Err(errors::invalid_field("concurrency", format!("has to be 1 to {CONCURRENCY_MAX}"))),
        };
        let jobs = self.scheduler.queue().jobs(task_queues, concurrency);
        let (sender, receiver) = mpsc::channel(usize::from(concurrency));
        tokio::spawn(stream_jobs(self.held.clone(), jobs, sender, self.stop.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_job(
        &self,
        request: Request<v1::JobServiceReportJobRequest>,
    ) -> Result<Response<v1::JobServiceReportJobResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Worker]).await?;
        let report = message.report.ok_or_else(|| errors::invalid_field("report", "is missing"))?;
        let (job, attempt) = (report.job.clone(), report.attempt);
        let ends = matches!(report.status.as_str(), "COMPLETED" | "FAILED");
        let outcome = self.scheduler.report(&principal.tenant, report).await;
        let dead = matches!(&outcome, Err(ReportError::Rejected(Rejection::Refused(_))));
        if (dead || (ends && outcome.is_ok()))
            && let Some(held) = self.held.take(&job, attempt)
            && let Err(error) = held.acknowledge().await
        {
            // It comes again, and its report is refused then.
            tracing::debug!(%error, job.id = job, "a streamed job could not be acknowledged");
        }
        outcome.map_err(errors::report)?;
        Ok(Response::new(v1::JobServiceReportJobResponse {}))
    }

    async fn list(
        &self,
        request: Request<v1::JobServiceListRequest>,
    ) -> Result<Response<v1::JobServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let terms = filter::parse(&message.filter, &["task_queue", "flow", "status", "submission"])?;
        let size = pages::size(message.page_size)?;
        let query = ["jobs", message.filter.as_str()];
        let text = |field: &str| terms.get(field).map(|&value| value.to_owned());
        let submission: Option<SubmissionId> =
            filter::read(&terms, "submission", "a submission's id", |text| text.parse().ok())?;
        let rows = self
            .scheduler
            .store()
            .list_jobs(&JobQuery {
                tenant: principal.tenant,
                id: None,
                submission,
                task_queue: text("task_queue"),
                flow: text("flow"),
                status: filter::read(&terms, "status", "PENDING, PUBLISHED or RUNNING", JobStatus::parse)?,
                after: pages::after::<Uuid>(&message.page_token, &query)?.map(JobId),
                limit: size,
            })
            .await
            .map_err(|error| errors::store(&error))?;
        let next_page_token = pages::next(rows.len(), size, rows.last().map(|row| row.job.id.0), &query);
        let jobs = rows.into_iter().map(convert::open_job).collect();
        Ok(Response::new(v1::JobServiceListResponse { jobs, next_page_token }))
    }

    async fn get(
        &self,
        request: Request<v1::JobServiceGetRequest>,
    ) -> Result<Response<v1::JobServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let id: JobId = parse_id("job", &message.job)?;
        let query = JobQuery {
            tenant: principal.tenant,
            id: Some(id),
            submission: None,
            task_queue: None,
            flow: None,
            status: None,
            after: None,
            limit: 1,
        };
        let rows = self.scheduler.store().list_jobs(&query).await.map_err(|error| errors::store(&error))?;
        let job = rows.into_iter().next().ok_or_else(|| errors::rejected(Refusal::JobNotFound.into()))?;
        Ok(Response::new(v1::JobServiceGetResponse { job: Some(convert::open_job(job)) }))
    }

    async fn list_task_queues(
        &self,
        request: Request<v1::JobServiceListTaskQueuesRequest>,
    ) -> Result<Response<v1::JobServiceListTaskQueuesResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let size = pages::size(message.page_size)?;
        let after: Option<String> = pages::after(&message.page_token, &["task queues"])?;
        let found = self.scheduler.task_queues(&principal.tenant).await;
        let (now, queues) = found.map_err(|error| errors::store(&error))?;
        let task_queues: Vec<v1::TaskQueue> = queues
            .into_iter()
            .filter(|queue| after.as_ref().is_none_or(|after| queue.load.name > *after))
            .take(size as usize)
            .map(|queue| task_queue(now, queue))
            .collect();
        let last = task_queues.last().map(|queue| queue.name.clone());
        let next_page_token = pages::next(task_queues.len(), size, last, &["task queues"]);
        Ok(Response::new(v1::JobServiceListTaskQueuesResponse { task_queues, next_page_token }))
    }
}

/// A task queue as it is shown at this time.
fn task_queue(now: Timestamp, queue: TaskQueue) -> v1::TaskQueue {
    let TaskQueue { load, consumers, flows } = queue;
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let age = load.oldest_since.map(|since| now.duration_since(since));
    v1::TaskQueue {
        name: load.name,
        waiting: count(load.waiting),
        oldest_waiting_since: load.oldest_since.map(convert::timestamp),
        oldest_waiting_age: age.map(|age| prost_types::Duration { seconds: age.as_secs(), nanos: age.subsec_nanos() }),
        running: count(load.running),
        later: count(load.later),
        consumers,
        flows,
    }
}

/// Hands jobs to one worker until it goes away; then what it holds goes back to the queue.
async fn stream_jobs(
    held: Held,
    mut jobs: futures::stream::BoxStream<'static, crate::queue::Delivery<v1::Job>>,
    sender: mpsc::Sender<Result<v1::JobServiceStreamJobsResponse, Status>>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(HELD_LOOK_INTERVAL);
    let mut streamed: Vec<(String, u32)> = Vec::new();
    loop {
        let delivery = tokio::select! {
            delivery = jobs.next() => delivery,
            () = sender.closed() => break,
            () = stop.cancelled() => break,
            _ = look.tick() => {
                for delivery in held.take_older_than(HELD_MAX) {
                    if let Err(error) = delivery.acknowledge().await {
                        tracing::debug!(%error, "a long job could not be acknowledged");
                    }
                }
                let deliveries = held.lock();
                streamed.retain(|key| deliveries.contains_key(key));
                continue;
            }
        };
        let Some(delivery) = delivery else { break };
        let job = delivery.body;
        streamed.push((job.job.clone(), job.attempt));
        held.hold(&job, delivery.acknowledge);
        if sender.send(Ok(v1::JobServiceStreamJobsResponse { job: Some(job) })).await.is_err() {
            break;
        }
    }
    for (job, attempt) in streamed {
        if let Some(delivery) = held.take(&job, attempt)
            && let Err(error) = delivery.release().await
        {
            tracing::debug!(%error, job.id = job, "a job could not be handed back: it comes again by itself");
        }
    }
}
