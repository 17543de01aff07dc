//! One attempt, from its delivery to its report.

use std::{sync::Arc, time::Duration};

use prost::Message;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use crate::{
    BODY_BYTES_MAX, FlowError, JobContext,
    backoff::Backoff,
    effects::Effects,
    json,
    ledger::Entry,
    places::Place,
    proto::{Job, JobError, JobReport},
    transport::ReportError,
    worker::Core,
};

/// A job that is done within this time is never reported STARTED: most are, and it would double the reports.
const STARTED_AFTER: Duration = Duration::from_secs(1);

/// With a timeout or a heartbeat interval below this, STARTED is reported at once: waiting would eat up too much of it.
const STARTED_AT_ONCE_BELOW: Duration = Duration::from_secs(5);

/// How long a handler may take to return after it was cancelled.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Heartbeats that handlers ask for closer than this to the last one are not sent.
const HEARTBEAT_GAP_MIN: Duration = Duration::from_secs(1);

/// The server cuts an error's message here; so do we, lest a long one makes the report too large.
const MESSAGE_CHARS_MAX: usize = 2000;

/// An error's code is a short name.
const CODE_CHARS_MAX: usize = 100;

/// Carries out an attempt and settles its deliveries.
pub(crate) async fn carry_out(core: &Core, job: Job, entry: &Entry, place: &Place) {
    let job = Arc::new(job);
    let attempt =
        Attempt { core, job: job.clone(), entry, place, effects: Effects::default(), received: Instant::now() };
    let conclusion = attempt.run().await;
    let done = match conclusion {
        Conclusion::Report(report) => attempt.report_finally(*report).await,
        Conclusion::NotLive => true,
        Conclusion::HandBack => false,
    };
    for hold in core.ledger.leave(&job) {
        if done {
            hold.done().await;
        } else {
            hold.release().await;
        }
    }
}

/// How an attempt ends.
enum Conclusion {
    Report(Box<JobReport>),
    /// The server does not want to hear of it any more.
    NotLive,
    /// Another worker has to do it.
    HandBack,
}

/// What ends an attempt before its handler does.
enum Interruption {
    TimedOut,
    NotLive,
}

type Handled = Result<Result<Value, FlowError>, JoinError>;

struct Attempt<'a> {
    core: &'a Core,
    job: Arc<Job>,
    entry: &'a Entry,
    place: &'a Place,
    effects: Effects,
    received: Instant,
}

impl Attempt<'_> {
    async fn run(&self) -> Conclusion {
        let Some(handler) = self.core.flows.find(&self.job) else {
            warn!(flow = self.job.flow, "no handler for this flow");
            // Reported, not handed back: the broker would deliver it here again and again. A later attempt may meet a
            // worker that serves it.
            let error = FlowError::new("UNKNOWN_FLOW", format!("this worker does not serve {}", self.job.flow));
            return Conclusion::Report(self.failed(&error).into());
        };
        let cancelled = CancellationToken::new();
        let (beats, asked) = mpsc::channel(1);
        let context =
            JobContext { job: self.job.clone(), cancelled: cancelled.clone(), beats, effects: self.effects.clone() };
        let input = json::value_of(self.job.input.clone().unwrap_or_default());
        // Its own task, so that a panic ends the attempt and not the worker.
        let handling = async move { handler(context, input).await }.instrument(self.span());
        let mut task = Handling(tokio::spawn(handling));

        let interruption = tokio::select! {
            biased;
            result = &mut task.0 => return self.conclude(result),
            interruption = self.attend(asked) => Some(interruption),
            () = self.core.hard_stop.cancelled() => None,
        };
        cancelled.cancel();
        // None: still running; it ends when dropped.
        let result = time::timeout(CANCEL_GRACE, &mut task.0).await.ok();
        match (interruption, result) {
            (Some(Interruption::NotLive), _) => {
                info!(job = self.job.job, attempt = self.job.attempt, "the attempt is not live any more: dropped");
                Conclusion::NotLive
            }
            // Late, but done: whether it still counts the server decides.
            (_, Some(Ok(Ok(output)))) => Conclusion::Report(self.completed(output).into()),
            (Some(Interruption::TimedOut), _) => {
                Conclusion::Report(self.failed(&FlowError::new("TIMEOUT", "the attempt has run out of time")).into())
            }
            // Its delivery was acknowledged, so that only a report can give it back.
            (None, _) if self.entry.is_settled() || self.is_settled_by_server() => {
                Conclusion::Report(self.failed(&FlowError::new("WORKER_STOPPED", "the worker was stopped")).into())
            }
            (None, _) => Conclusion::HandBack,
        }
    }

    /// Whether the server may have acknowledged the delivery: over gRPC it does so when a job has run for long, and does not say so.
    fn is_settled_by_server(&self) -> bool {
        !self.entry.has_deliveries() && self.received.elapsed() >= self.core.long_job_after
    }

    /// What the handler logs is of this job. It can be told from the other jobs of the worker, and found by the trace that it belongs to.
    fn span(&self) -> Span {
        let job = &*self.job;
        info_span!(
            "job",
            job.id = job.job,
            job.attempt = job.attempt,
            job.flow = job.flow,
            submission.id = job.submission,
            traceparent = (!job.traceparent.is_empty()).then_some(job.traceparent.as_str())
        )
    }

    fn conclude(&self, result: Handled) -> Conclusion {
        let report = match result {
            Ok(Ok(output)) => self.completed(output),
            Ok(Err(error)) => self.failed(&error),
            Err(error) => {
                let message = match error.try_into_panic() {
                    Ok(panic) => message_of(&*panic),
                    Err(_) => "the handler was aborted".to_owned(),
                };
                self.failed(&FlowError::new("PANIC", message))
            }
        };
        Conclusion::Report(report.into())
    }

    /// Speaks for the handler while it runs: STARTED, heartbeats, and the acknowledgement of a long job.
    async fn attend(&self, mut asked: mpsc::Receiver<()>) -> Interruption {
        let of_flow = self.core.flow_timeouts.get(&self.job.flow).copied();
        let timeout = [duration_of(self.job.timeout), of_flow].into_iter().flatten().min();
        let interval = duration_of(self.job.heartbeat_interval);
        let hurry = [timeout, interval].into_iter().flatten().any(|duration| duration < STARTED_AT_ONCE_BELOW);
        let started_after = if hurry { Duration::ZERO } else { STARTED_AFTER.min(self.core.long_job_after) };
        tokio::select! {
            () = time::sleep(started_after) => {}
            // A heartbeat says that it has started.
            Some(()) = asked.recv() => {}
        }
        if !self.report_started().await {
            return Interruption::NotLive;
        }
        // The attempt begins with STARTED: this is what the server counts from too.
        let started = Instant::now();
        let alive = self.keep_alive(asked, self.received + self.core.long_job_after, interval);
        match timeout {
            None => alive.await,
            Some(timeout) => time::timeout_at(started + timeout, alive).await.unwrap_or(Interruption::TimedOut),
        }
    }

    async fn report_started(&self) -> bool {
        let mut backoff = Backoff::new();
        loop {
            match self.core.transport.report(self.report("STARTED")).await {
                Ok(()) => return true,
                Err(ReportError::Refused(reason)) => {
                    debug!(reason, "STARTED was refused");
                    return false;
                }
                Err(ReportError::Unavailable(_)) => backoff.pause().await,
            }
        }
    }

    /// Ends only when the attempt is not live any more.
    async fn keep_alive(
        &self,
        mut asked: mpsc::Receiver<()>,
        long_at: Instant,
        interval: Option<Duration>,
    ) -> Interruption {
        // Twice in an interval, so that one may be late or lost.
        let every = interval.map(|interval| (interval / 2).max(Duration::from_millis(1)));
        let automatic = every.filter(|_| !self.core.manual_heartbeat);
        let gap = every.map_or(HEARTBEAT_GAP_MIN, |every| HEARTBEAT_GAP_MIN.min(every / 2));
        let mut last = Instant::now();
        let deliveries = self.entry.has_deliveries();
        let mut long = false;
        loop {
            tokio::select! {
                // Acknowledged before the first heartbeat that is due after it.
                biased;
                () = time::sleep_until(long_at), if deliveries && !long => {
                    long = true;
                    self.place.outlive().await;
                    for hold in self.entry.settle_early() {
                        hold.done().await;
                    }
                    continue;
                }
                () = time::sleep_until(last + automatic.unwrap_or_default()), if automatic.is_some() => {}
                Some(()) = asked.recv() => if last.elapsed() < gap {
                    continue;
                },
                // No heartbeat is wanted, and the handler, which has dropped its context, asks for none: nothing more to say.
                else => std::future::pending().await,
            }
            last = Instant::now();
            match self.core.transport.report(self.report("HEARTBEAT")).await {
                Err(ReportError::Refused(_)) => return Interruption::NotLive,
                Err(ReportError::Unavailable(reason)) => debug!(reason, "a heartbeat was not sent"),
                Ok(()) => {}
            }
        }
    }

    /// Reports the result, and tries until it is taken or refused. `false`: the worker stops before that.
    async fn report_finally(&self, report: JobReport) -> bool {
        let mut backoff = Backoff::new();
        loop {
            match self.core.transport.report(report.clone()).await {
                Ok(()) => return true,
                Err(ReportError::Refused(reason)) => {
                    info!(job = self.job.job, attempt = self.job.attempt, reason, "the report was refused");
                    return true;
                }
                Err(ReportError::Unavailable(_)) if self.core.hard_stop.is_cancelled() => return false,
                Err(ReportError::Unavailable(reason)) => {
                    debug!(reason, "the report was not sent yet");
                    tokio::select! {
                        () = backoff.pause() => {}
                        () = self.core.hard_stop.cancelled() => {}
                    }
                }
            }
        }
    }

    fn report(&self, status: &str) -> JobReport {
        JobReport {
            job: self.job.job.clone(),
            attempt: self.job.attempt,
            token: self.job.token.clone(),
            status: status.to_owned(),
            output: None,
            error: None,
            worker: self.core.name.clone(),
            effects: Vec::new(),
        }
    }

    fn completed(&self, output: Value) -> JobReport {
        let Value::Object(output) = output else {
            return self.failed(&FlowError::permanent("OUTPUT_NOT_OBJECT", "a flow has to return an object"));
        };
        let output = match json::struct_of(output) {
            Ok(output) => output,
            Err(error) => return self.failed(&FlowError::permanent("OUTPUT_INVALID", error.of("output"))),
        };
        let report = JobReport { output: Some(output), effects: self.effects.take(), ..self.report("COMPLETED") };
        if fits(&report) {
            report
        } else {
            let message = format!("the report has more than {BODY_BYTES_MAX} bytes as JSON");
            self.failed(&FlowError::permanent("OUTPUT_TOO_LARGE", message))
        }
    }

    fn failed(&self, error: &FlowError) -> JobReport {
        let error = JobError {
            code: error.code.chars().take(CODE_CHARS_MAX).collect(),
            message: error.message.chars().take(MESSAGE_CHARS_MAX).collect(),
            retryable: Some(error.retryable),
        };
        JobReport { error: Some(error), ..self.report("FAILED") }
    }
}

/// A handler's task, which ends when it is dropped.
struct Handling(JoinHandle<Result<Value, FlowError>>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Without writing JSON for reports that are clearly below the bound: as JSON a message is at most six times as long (a
/// control character becomes `\u0000`), plus the names of its fields.
fn fits(report: &JobReport) -> bool {
    const NAMES_BYTES_MAX: usize = 1024;
    report.encoded_len() * 6 + NAMES_BYTES_MAX <= BODY_BYTES_MAX
        || json::to_json(report).is_ok_and(|json| json.len() <= BODY_BYTES_MAX)
}

fn duration_of(duration: Option<prost_types::Duration>) -> Option<Duration> {
    // One that is not positive bounds nothing.
    duration.and_then(|duration| Duration::try_from(duration).ok()).filter(|duration| !duration.is_zero())
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}
