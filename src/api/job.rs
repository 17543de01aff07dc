//! `JobService`: workers that come over gRPC, and operators who look at what is open.

use std::pin::Pin;

use futures::Stream;
use jiff::Timestamp;
use quorate_engine::{
    id::{JobId, SubmissionId},
    refusal::Refusal,
    status::JobStatus,
};
use quorate_store::query::JobQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    auth::Role,
    proto::v1::{self, job_service_server::JobService},
    scheduler::{Rejection, ReportError, task_queues::TaskQueue},
};

use super::{Api, call::parse_id, convert, errors, filter, pages};

mod stream;

pub(super) use stream::Held;
use stream::JobStream;

/// How many jobs a worker may hold at once.
const CONCURRENCY_MAX: u16 = 1_000;

/// How many it holds where it does not say.
const CONCURRENCY: u16 = 16;

/// How many task queues one worker may serve.
const TASK_QUEUES_MAX: usize = 100;

/// Who may look at jobs.
const READERS: &[Role] = &[Role::Worker, Role::Designer, Role::Auditor];

#[tonic::async_trait]
impl JobService for Api {
    type StreamJobsStream = Pin<Box<dyn Stream<Item = Result<v1::JobServiceStreamJobsResponse, Status>> + Send>>;

    async fn stream_jobs(
        &self,
        request: Request<v1::JobServiceStreamJobsRequest>,
    ) -> Result<Response<Self::StreamJobsStream>, Status> {
        let (principal, message) = self.caller(request, &[Role::Worker]).await?;
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
        let store = self.scheduler.store().clone();
        let stream = JobStream::new(self.held.clone(), store, principal.tenant, long_job_after);
        tokio::spawn(stream.run(jobs, sender, self.stop.clone()));
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
            stream::settle(self.held.take(&job, attempt)).await;
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
