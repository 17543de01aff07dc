//! The publisher hands committed jobs to the queue, a batch at a time and several batches at once; the relay brings back what
//! was not confirmed, or not heard of again (DESIGN 4, invariant 3).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    Json,
    command::{Command, Report, ReportOutcome},
    id::{SubmissionId, Tenant, Token},
    projection::JobRow,
};
use quorate_store::store::{AttemptKey, OpenJobRow};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    metrics::COUNTED,
    queue::{Published, Served},
};

use super::{Ask, Request, Scheduler, Shared, jobs, task_queues::ASKED_MAX};

/// How many jobs may wait for the publisher. What finds no room is left to the relay: it is stored.
const WAITING_MAX: usize = 16_384;

/// How many jobs are published before their confirms are awaited.
const BATCH_MAX: usize = 512;

/// How many batches await their confirms at once: while the broker flushes one, the next is on its way.
const BATCHES_AT_ONCE_MAX: usize = 4;

/// How many jobs the relay claims at a time.
const RELAY_MAX: u32 = 1_000;

/// For how long the relay claims a job: longer than a publish with its confirm may take.
const RELAY_CLAIM: SignedDuration = SignedDuration::from_secs(60);

/// The longest time after which a published job that nobody started is published again.
const REDELIVERY_INTERVAL_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How many refused jobs may wait for their attempts to fail. What finds no room comes again with the relay.
const REFUSED_MAX: usize = 1_024;

/// What an attempt fails with whose job no queue takes.
const JOB_UNPUBLISHABLE: &str = "JOB_UNPUBLISHABLE";

/// Where the publisher says which attempts have failed. It cannot ask the lanes itself, which are made after it and hand jobs to it.
type Refused = mpsc::Sender<(Tenant, Report)>;

/// Where that is taken up.
pub(super) type Failures = mpsc::Receiver<(Tenant, Report)>;

/// A committed job.
pub(super) struct ToPublish {
    pub(super) tenant: Tenant,
    pub(super) submission: SubmissionId,
    pub(super) job: JobRow,
    /// How often the relay has taken up this attempt since it was published.
    pub(super) deliveries: u32,
}

impl ToPublish {
    fn attempt(&self) -> AttemptKey {
        AttemptKey {
            tenant: self.tenant.clone(),
            submission: self.submission,
            job: self.job.id,
            attempt: self.job.attempt,
        }
    }
}

/// Where lanes and the relay hand jobs over.
#[derive(Clone)]
pub(super) struct Publisher {
    sender: mpsc::Sender<ToPublish>,
}

impl Publisher {
    /// Hands jobs over without waiting. Those that find no room stay stored as they are, and the relay takes them up.
    pub(super) fn hand_over(&self, jobs: impl Iterator<Item = ToPublish>) {
        for job in jobs {
            if self.sender.try_send(job).is_err() {
                tracing::debug!("the publisher is full: the relay will publish the rest");
                return;
            }
        }
    }
}

/// Starts the publisher. It ends when every sender is gone and what it held is done with, or at once after `stop` when the
/// queue does not answer.
pub(super) fn start(shared: Arc<Shared>, stop: CancellationToken) -> (Publisher, Failures, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let (refused, failures) = mpsc::channel(REFUSED_MAX);
    (Publisher { sender }, failures, tokio::spawn(run(shared, receiver, refused, stop)))
}

async fn run(shared: Arc<Shared>, mut receiver: mpsc::Receiver<ToPublish>, refused: Refused, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(BATCHES_AT_ONCE_MAX));
    let under_way = TaskTracker::new();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let (shared, refused, jobs) = (Arc::clone(&shared), refused.clone(), std::mem::take(&mut batch));
        let stop = stop.clone();
        under_way.spawn(async move {
            // A job whose publish is cut short here is stored as it was: the relay of another server, or of this one
            // when it is back, publishes it.
            let cut_short = async {
                stop.cancelled().await;
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            };
            tokio::select! {
                () = publish(&shared, &refused, jobs) => {}
                () = cut_short => {}
            }
            drop(permit);
        });
    }
    under_way.close();
    under_way.wait().await;
}

async fn publish(shared: &Shared, refused: &Refused, jobs: Vec<ToPublish>) {
    let (mut ready, mut messages) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for job in jobs {
        match shared.catalog.workflow(&job.tenant, &job.job.spec.flow).await {
            Ok(workflow) => {
                messages.push(jobs::message(&job.tenant, job.submission, &job.job, &workflow));
                ready.push((job, workflow));
            }
            Err(error) => {
                tracing::warn!(%error, job.id = %job.job.id, "a job's flow could not be read: left to the relay");
            }
        }
    }
    let jobs = ready;
    let published = match shared.queue.publish(messages).await {
        Ok(published) => published,
        Err(error) => {
            // Logged by the queue when its state changes; here it would be once a batch.
            tracing::debug!(%error, jobs = jobs.len(), "jobs left to the relay");
            return;
        }
    };
    // By how often they were delivered before: each further wait is twice as long.
    let mut confirmed: BTreeMap<u32, Vec<AttemptKey>> = BTreeMap::new();
    for ((job, workflow), published) in jobs.iter().zip(published) {
        match published {
            Published::Confirmed => confirmed.entry(job.deliveries).or_default().push(job.attempt()),
            Published::Unconfirmed(reason) => {
                tracing::debug!(job.id = %job.job.id, %reason, "a job left to the relay");
            }
            Published::Refused(reason) => {
                tracing::error!(job.id = %job.job.id, %reason, "the queue refuses a job: its attempt fails");
                let report = failure(&job.job, workflow, &reason);
                if report.is_some_and(|report| refused.try_send((job.tenant.clone(), report)).is_err()) {
                    tracing::debug!("too many jobs are refused at once: the relay will bring the rest");
                }
            }
        }
    }
    for (&deliveries, attempts) in &confirmed {
        COUNTED.jobs_published(deliveries > 0, attempts.len() as u64);
    }
    mark(shared, confirmed).await;
}

/// Marks attempts as published, by how often they were delivered before, and puts off when they are published again.
async fn mark(shared: &Shared, published: BTreeMap<u32, Vec<AttemptKey>>) {
    for (deliveries, attempts) in published {
        let redeliver_at = after(shared.clock.now(), redelivery_interval(shared, deliveries));
        if let Err(error) = shared.store.mark_published(&attempts, redeliver_at).await {
            tracing::warn!(%error, "published jobs could not be marked: they will be published again");
        }
    }
}

/// What becomes of an attempt whose job the queue will never take as it is: it has failed, for good.
fn failure(job: &JobRow, workflow: &str, reason: &str) -> Option<Report> {
    let token = Token::parse(&job.token)?;
    let input = job.spec.input.to_string().len();
    let workflow = Json::from(workflow).to_string().len();
    let message = format!("{reason}; its input has {input} bytes as JSON, and the workflow of its flow {workflow}");
    let outcome = ReportOutcome::Failed { code: JOB_UNPUBLISHABLE.to_owned(), message, retryable: false };
    Some(Report { job: job.id, attempt: job.attempt, token, outcome })
}

/// Lets the attempts fail whose jobs the queue refuses.
pub(super) async fn fail_refused(scheduler: Scheduler, mut failures: Failures, stop: CancellationToken) {
    while let Some(Some((tenant, report))) = stop.run_until_cancelled(failures.recv()).await {
        let (job, submission) = (report.job, report.token.submission());
        let Some(submission) = submission else { continue };
        let ask = Ask::Command(Command::Report(report));
        if let Err(rejection) = scheduler.ask_in_turn(Request { tenant, submission, ask, key: None }).await {
            // Its row is as it was: the relay brings it again.
            tracing::debug!(job.id = %job, %rejection, "an attempt that cannot be published has not failed yet");
        }
    }
}

/// Publishes again what was not confirmed in time, or confirmed and not heard of since.
pub(super) async fn relay(shared: Arc<Shared>, publisher: Publisher, stop: CancellationToken) {
    let tick = shared.settings.tick;
    while stop.run_until_cancelled(tokio::time::sleep(tick)).await.is_some() {
        if !shared.queue.is_connected() {
            continue;
        }
        let now = shared.clock.now();
        let room = publisher.sender.capacity().min(RELAY_MAX as usize);
        let room = u32::try_from(room).unwrap_or(RELAY_MAX);
        if room == 0 {
            continue;
        }
        match shared.store.claim_deliveries(now, after(now, RELAY_CLAIM), room).await {
            Ok(rows) => {
                let due = without_waiting(&shared, rows.into_iter().map(from_row).collect()).await;
                publisher.hand_over(due.into_iter());
            }
            Err(error) => tracing::warn!(%error, "the relay could not read the jobs that are due"),
        }
    }
}

/// Leaves out jobs that were published before and wait in their task queue still, as far as can be seen: nobody serves it, and it is not
/// empty. Each copy more would be carried out by the worker that comes at last. They are looked at again later, since the queue may
/// have been emptied, or lost with its broker.
async fn without_waiting(shared: &Shared, jobs: Vec<ToPublish>) -> Vec<ToPublish> {
    let again = jobs.iter().filter(|job| job.deliveries > 0);
    let names: BTreeSet<&String> = again.map(|job| &job.job.spec.task_queue).collect();
    if names.is_empty() {
        return jobs;
    }
    let names: Vec<String> = names.into_iter().take(ASKED_MAX).cloned().collect();
    let served = match shared.queue.served(&names).await {
        Ok(served) => served,
        Err(error) => {
            tracing::debug!(%error, "it is not known who serves the task queues: jobs are published again");
            return jobs;
        }
    };
    let waits = |served: &Option<Served>| served.is_some_and(|served| served.consumers == 0 && served.waiting > 0);
    let unserved: BTreeSet<String> =
        names.into_iter().zip(served).filter(|(_, served)| waits(served)).map(|(name, _)| name).collect();
    let is_waiting = |job: &ToPublish| job.deliveries > 0 && unserved.contains(&job.job.spec.task_queue);
    let (waiting, due): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_waiting);
    let mut put_off: BTreeMap<u32, Vec<AttemptKey>> = BTreeMap::new();
    for job in waiting {
        put_off.entry(job.deliveries).or_default().push(job.attempt());
    }
    mark(shared, put_off).await;
    due
}

fn from_row(row: OpenJobRow) -> ToPublish {
    ToPublish { tenant: row.tenant, submission: row.submission, job: row.job, deliveries: row.deliveries }
}

/// After which time an attempt that was delivered so often before is delivered again, if nobody has started it by then.
fn redelivery_interval(shared: &Shared, deliveries: u32) -> SignedDuration {
    SignedDuration::try_from(shared.settings.redelivery_interval)
        .unwrap_or(REDELIVERY_INTERVAL_MAX)
        .saturating_mul(1_i32.checked_shl(deliveries.min(16)).unwrap_or(i32::MAX))
        .min(REDELIVERY_INTERVAL_MAX)
}

/// A moment so much later, or the last one that there is.
pub(super) fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}
