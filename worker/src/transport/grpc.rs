//! The way over gRPC: `JobService.StreamJobs` and `ReportJob`.

use std::{fmt, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tracing::{info, warn};

use crate::{
    InvalidWorker, WorkerBuilder, WorkerError,
    backoff::Backoff,
    limits::Share,
    places::Places,
    proto::{
        Job, JobReport, JobServiceReportJobRequest, JobServiceStreamJobsRequest, job_service_client::JobServiceClient,
    },
    transport::{Hold, Incoming, ReportError, Transport},
};

/// For reaching the server. One that takes longer is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For one report, which the server answers after storing it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// An idle connection is asked for a sign of life this often, so that one that was cut without a word is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the sign of life may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server is reached with.
pub(crate) struct GrpcTarget {
    endpoint: Endpoint,
    metadata: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    worker: String,
}

impl GrpcTarget {
    pub(crate) fn new(plan: &WorkerBuilder) -> Result<Self, InvalidWorker> {
        let url = |error: tonic::transport::Error| InvalidWorker::Url(error.to_string());
        let mut endpoint = Endpoint::from_shared(plan.url.clone())
            .map_err(url)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if plan.url.starts_with("https:") {
            let Some(pem) = &plan.ca_certificate else {
                return Err(InvalidWorker::Url("https:// needs the certificate of the server's authority".to_owned()));
            };
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).map_err(url)?;
        }
        let mut metadata = Vec::new();
        let token = plan.token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        for (key, value) in token.chain(plan.metadata.iter().cloned()) {
            let invalid = || InvalidWorker::Metadata(key.clone());
            let mut text = MetadataValue::try_from(value).map_err(|_| invalid())?;
            text.set_sensitive(true);
            metadata.push((MetadataKey::from_bytes(key.as_bytes()).map_err(|_| invalid())?, text));
        }
        Ok(Self { endpoint, metadata, worker: plan.name.clone() })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(key.clone(), value.clone());
        }
        request
    }
}

impl fmt::Display for GrpcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.endpoint.uri();
        write!(f, "{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |name| name.as_str()))
    }
}

/// The way over gRPC.
pub(crate) struct Grpc {
    target: GrpcTarget,
    client: JobServiceClient<Channel>,
}

impl Grpc {
    /// Must be called in a tokio runtime. Connects with the first call.
    pub(crate) fn open(target: GrpcTarget) -> Self {
        let client = JobServiceClient::new(target.endpoint.connect_lazy());
        Self { target, client }
    }

    async fn take(
        &self,
        share: Share,
        places: &Arc<Places>,
        jobs: mpsc::Sender<Incoming>,
        stop: &CancellationToken,
        end: &CancellationToken,
    ) -> Result<(), WorkerError> {
        let wanted = JobServiceStreamJobsRequest {
            task_queues: share.task_queues,
            concurrency: u32::from(share.concurrency),
            worker: self.target.worker.clone(),
        };
        let mut backoff = Backoff::new();
        let (mut down, mut first) = (false, true);
        loop {
            let mut client = self.client.clone();
            let request = self.target.request(wanted.clone());
            let opened = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                opened = client.stream_jobs(request) => opened,
            };
            let status = match opened {
                Ok(response) => {
                    info!(server = %self.target, "taking jobs from the server");
                    (down, first) = (false, false);
                    backoff = Backoff::new();
                    let mut stream = response.into_inner();
                    loop {
                        let next = tokio::select! {
                            biased;
                            () = stop.cancelled() => {
                                // The stream's end gives unreported jobs to others: it is kept while ours still run.
                                drop(jobs);
                                end.cancelled().await;
                                return Ok(());
                            }
                            next = stream.message() => next,
                        };
                        match next {
                            Ok(Some(message)) => hand_over(places, &jobs, message.job, stop).await,
                            Ok(None) => break Status::unavailable("the stream has ended"),
                            Err(status) => break status,
                        }
                    }
                }
                // A worker that never got in will not get in by knocking; one that was in may be let in again.
                Err(status) if first && is_refusal(&status) => {
                    return Err(WorkerError::Refused(status.message().to_owned()));
                }
                Err(status) => status,
            };
            if !down {
                down = true;
                warn!(server = %self.target, code = ?status.code(), reason = status.message(), "no jobs from the server: trying on");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = backoff.pause() => {}
            }
        }
    }
}

async fn hand_over(places: &Arc<Places>, jobs: &mpsc::Sender<Incoming>, job: Option<Job>, stop: &CancellationToken) {
    let Some(job) = job else { return };
    tokio::select! {
        // It goes to another worker with the end of the stream.
        () = stop.cancelled() => return,
        // The server sends no more than there are places, but may know of a free one before we do.
        () = places.free() => {}
    }
    // The receiver waits for our end after `stop`, so that nothing is lost here.
    let _ = jobs.send(Incoming { job, hold: Hold::Stream, place: places.take() }).await;
}

fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented
    )
}

impl Transport for Grpc {
    fn take_jobs(
        self: Arc<Self>,
        share: Share,
        places: Arc<Places>,
        jobs: mpsc::Sender<Incoming>,
        stop: CancellationToken,
        end: CancellationToken,
    ) -> BoxFuture<'static, Result<(), WorkerError>> {
        async move { self.take(share, &places, jobs, &stop, &end).await }.boxed()
    }

    fn report(&self, report: JobReport) -> BoxFuture<'_, Result<(), ReportError>> {
        async move {
            let mut request = self.target.request(JobServiceReportJobRequest { report: Some(report) });
            request.set_timeout(REPORT_TIMEOUT);
            let Err(status) = self.client.clone().report_job(request).await else { return Ok(()) };
            let reason = format!("{:?}: {}", status.code(), status.message());
            Err(match status.code() {
                // The first three say that the attempt is not live any more; the others that no try will be taken.
                Code::FailedPrecondition
                | Code::NotFound
                | Code::Aborted
                | Code::InvalidArgument
                | Code::OutOfRange
                | Code::AlreadyExists => ReportError::Refused(reason),
                _ => ReportError::Unavailable(reason),
            })
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
