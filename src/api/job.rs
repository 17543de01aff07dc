//! `JobService`: workers that come over gRPC, and operators who look at what is open.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    queue::{Acknowledge, Delivery},
    scheduler::{Rejection, ReportError, task_queues::TaskQueue},
};

use super::{Api, call::parse_id, convert, errors, filter, pages};

/// How many jobs a worker may hold at once.
const CONCURRENCY_MAX: u16 = 1_000;

/// How many it holds where it does not say.
const CONCURRENCY: u16 = 16;

/// How many task queues one worker may serve.
const TASK_QUEUES_MAX: usize = 100;

/// How often streams look for jobs that are long by now, at the least.
const HELD_LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Who may look at jobs.
const READERS: &[Role] = &[Role::Worker, Role::Designer, Role::Auditor];

/// What the streams of this server hold: so that a report can settle it, and that nothing is streamed twice to one worker.
#[derive(Clone, Default)]
pub(super) struct Held {
    attempts: Arc<Mutex<Attempts>>,
    streams: Arc<AtomicU64>,
}

/// By job and number, each with the streams that it went to.
type Attempts = BTreeMap<(String, u32), Vec<HeldAttempt>>;

/// An attempt that was streamed and not reported yet.
struct HeldAttempt {
    /// To whom.
    stream: u64,
    since: Instant,
    /// Until the attempt has lasted so long that its delivery is acknowledged all the same.
    delivery: Option<Box<dyn Acknowledge>>,
}

impl Held {
    fn new_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds a delivery. Gives it back where the stream holds the attempt already: a job that waited for long was published again,
    /// and both copies have come.
    fn hold(&self, stream: u64, job: &v1::Job, delivery: Box<dyn Acknowledge>) -> Option<Box<dyn Acknowledge>> {
        let mut attempts = self.lock();
        let held = attempts.entry((job.job.clone(), job.attempt)).or_default();
        if held.iter().any(|held| held.stream == stream) {
            return Some(delivery);
        }
        held.push(HeldAttempt { stream, since: Instant::now(), delivery: Some(delivery) });
        None
    }

    /// The deliveries of an attempt that is over: its copies on all streams.
    fn take(&self, job: &str, attempt: u32) -> Vec<Box<dyn Acknowledge>> {
        let held = self.lock().remove(&(job.to_owned(), attempt)).unwrap_or_default();
        held.into_iter().filter_map(|held| held.delivery).collect()
    }

    /// The deliveries of attempts that last longer. The attempts stay held.
    fn take_older_than(&self, age: Duration) -> Vec<Box<dyn Acknowledge>> {
        let mut attempts = self.lock();
        let long = attempts.values_mut().flatten().filter(|held| held.since.elapsed() > age);
        long.filter_map(|held| held.delivery.take()).collect()
    }

    /// The deliveries of a stream that has ended.
    fn leave(&self, stream: u64) -> Vec<Box<dyn Acknowledge>> {
        let mut left = Vec::new();
        self.lock().retain(|_, held| {
            left.extend(held.extract_if(.., |held| held.stream == stream).filter_map(|held| held.delivery));
            !held.is_empty()
        });
        left
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        // A panic while the lock was held leaves the map whole: nothing in between can fail.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
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
        let long_job_after = self.scheduler.settings().long_job_after;
        tokio::spawn(stream_jobs((self.held.clone(), long_job_after), jobs, sender, self.stop.clone()));
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
        let dead =
            matches!(&outcome, Err(ReportError::Rejected(Rejection::Refused(_)) | ReportError::ResultInvalid { .. }));
        if dead || (ends && outcome.is_ok()) {
            for delivery in self.held.take(&job, attempt) {
                if let Err(error) = delivery.acknowledge().await {
                    // It comes again, and its report is refused then.
                    tracing::debug!(%error, job.id = job, "a streamed job could not be acknowledged");
                }
            }
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
    (held, long_job_after): (Held, Duration),
    mut jobs: futures::stream::BoxStream<'static, Delivery<v1::Job>>,
    sender: mpsc::Sender<Result<v1::JobServiceStreamJobsResponse, Status>>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(HELD_LOOK_INTERVAL.min(long_job_after / 4));
    let stream = held.new_stream();
    loop {
        let delivery = tokio::select! {
            delivery = jobs.next() => delivery,
            () = sender.closed() => break,
            () = stop.cancelled() => break,
            _ = look.tick() => {
                acknowledge_all(held.take_older_than(long_job_after)).await;
                continue;
            }
        };
        let Some(Delivery { body: job, acknowledge, .. }) = delivery else { break };
        if let Some(copy) = held.hold(stream, &job, acknowledge) {
            // The worker has it. Should the stream end, the first one goes back.
            acknowledge_all(vec![copy]).await;
            continue;
        }
        if sender.send(Ok(v1::JobServiceStreamJobsResponse { job: Some(job) })).await.is_err() {
            break;
        }
    }
    for delivery in held.leave(stream) {
        if let Err(error) = delivery.release().await {
            tracing::debug!(%error, "a job could not be handed back: it comes again by itself");
        }
    }
}

async fn acknowledge_all(deliveries: Vec<Box<dyn Acknowledge>>) {
    for delivery in deliveries {
        if let Err(error) = delivery.acknowledge().await {
            tracing::debug!(%error, "a streamed job could not be acknowledged: it comes again by itself");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::queue::{MemoryQueue, Queue as _};

    fn job(id: &str) -> v1::Job {
        v1::Job { job: id.to_owned(), attempt: 1, task_queue: "default".to_owned(), ..v1::Job::default() }
    }

    #[tokio::test]
    async fn a_copy_of_an_attempt_is_held_once_by_a_stream_and_settled_with_it() {
        let queue = MemoryQueue::new();
        queue.publish(vec![job("j1"), job("j1"), job("j1")]).await.unwrap();
        let mut jobs = queue.jobs(vec!["default".to_owned()], 3);
        let held = Held::default();
        let (one, other) = (held.new_stream(), held.new_stream());
        let mut next = async || jobs.next().await.unwrap().acknowledge;
        assert!(held.hold(one, &job("j1"), next().await).is_none());
        assert!(held.hold(other, &job("j1"), next().await).is_none(), "another worker may carry it out too");
        assert!(held.hold(one, &job("j1"), next().await).is_some(), "a second copy for one that has it");
        assert_eq!(held.leave(other).len(), 1);
        assert_eq!(held.take("j1", 1).len(), 1);
        assert!(held.lock().is_empty());
    }

    #[tokio::test]
    async fn a_long_attempt_stays_held_when_its_delivery_is_acknowledged() {
        let queue = MemoryQueue::new();
        queue.publish(vec![job("j1"), job("j1")]).await.unwrap();
        let mut jobs = queue.jobs(vec!["default".to_owned()], 2);
        let held = Held::default();
        let stream = held.new_stream();
        assert!(held.hold(stream, &job("j1"), jobs.next().await.unwrap().acknowledge).is_none());
        assert_eq!(held.take_older_than(Duration::from_hours(1)).len(), 0);
        assert_eq!(held.take_older_than(Duration::ZERO).len(), 1);
        assert!(
            held.hold(stream, &job("j1"), jobs.next().await.unwrap().acknowledge).is_some(),
            "it is not streamed again"
        );
        assert_eq!(held.leave(stream).len(), 0, "there is nothing to give back");
        assert!(held.lock().is_empty());
    }
}
