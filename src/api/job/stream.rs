//! The streams of jobs to workers over gRPC, and what they hold.
//!
//! A stream holds an attempt, and with it one of its places, from sending it until it is over. That an attempt is over is learnt from the
//! report where it comes to this server, and else from the store: it may have come to another server, and an attempt also ends when
//! its time is up or its submission ends, which nobody reports.
//!
//! The attempt's delivery is held as long, so that the job goes to another worker should the stream end; but not of a long one that a
//! worker said it started: brokers do not like that, and from then on it lives by its heartbeats (DESIGN 6).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream::BoxStream};
use quorate_engine::{
    id::{JobId, SubmissionId, Tenant},
    status::JobStatus,
};
use quorate_store::{Store, store::LiveAttempt};
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    proto::v1,
    queue::{Acknowledge, Delivery, Place},
};

/// How often a stream asks the store what became of the attempts that it holds for longer than this. A worker whose reports come to another
/// server waits so long for its next job, once it has as many as it takes; one query a second for each stream is no load.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the streams of this server hold: so that a report can settle it, and that nothing is streamed twice to one worker.
#[derive(Clone, Default)]
pub(in crate::api) struct Held {
    attempts: Arc<Mutex<Attempts>>,
    streams: Arc<AtomicU64>,
}

/// By job and number, each with the streams that it went to.
type Attempts = BTreeMap<AttemptId, Vec<HeldAttempt>>;

type AttemptId = (String, u32);

/// An attempt that was streamed and is not known to be over.
pub(super) struct HeldAttempt {
    /// To whom.
    stream: u64,
    submission: String,
    since: Instant,
    /// Of its stream. The next job comes when it is given up.
    place: Option<Arc<Place>>,
    /// Until it is acknowledged though the attempt goes on.
    delivery: Option<Box<dyn Acknowledge>>,
}

/// The place of an attempt that goes on, and the delivery that it goes on without.
type Outlived = (Option<Arc<Place>>, Box<dyn Acknowledge>);

/// What a stream asks the store about.
struct Asked {
    attempt: AttemptId,
    ids: (SubmissionId, JobId),
    age: Duration,
}

impl Held {
    fn new_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds a delivery. Answers with one to acknowledge where the stream holds the attempt already: a job that waited for long was
    /// published again, or a connection to the broker was lost, and both copies have come.
    fn hold(
        &self,
        stream: u64,
        job: &v1::Job,
        place: &Weak<Place>,
        delivery: Box<dyn Acknowledge>,
    ) -> Option<Box<dyn Acknowledge>> {
        // It is there: the delivery, which takes it, is here.
        let place = place.upgrade();
        let mut attempts = self.lock();
        let held = attempts.entry((job.job.clone(), job.attempt)).or_default();
        let Some(known) = held.iter_mut().find(|held| held.stream == stream) else {
            let (submission, since) = (job.submission.clone(), Instant::now());
            held.push(HeldAttempt { stream, submission, since, place, delivery: Some(delivery) });
            return None;
        };
        if known.delivery.is_none() {
            return Some(delivery);
        }
        // The last one: those before it may have come over a connection that is lost.
        known.place = place;
        known.delivery.replace(delivery)
    }

    /// An attempt that is over, on all streams.
    pub(super) fn take(&self, job: &str, attempt: u32) -> Vec<HeldAttempt> {
        self.lock().remove(&(job.to_owned(), attempt)).unwrap_or_default()
    }

    /// What a stream has held for this time.
    fn older_than(&self, stream: u64, age: Duration) -> Vec<Asked> {
        let attempts = self.lock();
        let of_stream = attempts.iter().flat_map(|(attempt, held)| held.iter().map(move |held| (attempt, held)));
        of_stream
            .filter(|(_, held)| held.stream == stream)
            .map(|(attempt, held)| (attempt, held, held.since.elapsed()))
            .filter(|(_, _, held_for)| *held_for >= age)
            // Ids that are none were not written by a server; nothing is known of such a job.
            .filter_map(|(attempt, held, age)| {
                let ids = (held.submission.parse().ok()?, attempt.0.parse().ok()?);
                Some(Asked { attempt: attempt.clone(), ids, age })
            })
            .collect()
    }

    /// The delivery of an attempt that goes on without it, and keeps its place.
    fn outlive(&self, stream: u64, attempt: &AttemptId) -> Option<Outlived> {
        let mut attempts = self.lock();
        let held = attempts.get_mut(attempt)?.iter_mut().find(|held| held.stream == stream)?;
        Some((held.place.clone(), held.delivery.take()?))
    }

    /// What a stream that has ended held.
    fn leave(&self, stream: u64) -> Vec<HeldAttempt> {
        let mut left = Vec::new();
        self.lock().retain(|_, held| {
            left.extend(held.extract_if(.., |held| held.stream == stream));
            !held.is_empty()
        });
        left
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        // A panic while the lock was held leaves the map whole: nothing in between can fail.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles attempts that are over, and then gives up their places.
pub(super) async fn settle(over: Vec<HeldAttempt>) {
    for HeldAttempt { delivery, place, .. } in over {
        if let Some(delivery) = delivery {
            acknowledge(delivery).await;
        }
        drop(place);
    }
}

async fn acknowledge(delivery: Box<dyn Acknowledge>) {
    if let Err(error) = delivery.acknowledge().await {
        tracing::debug!(%error, "a streamed job could not be acknowledged: it comes again by itself");
    }
}

/// The stream of one worker.
pub(super) struct JobStream {
    held: Held,
    number: u64,
    store: Arc<dyn Store>,
    tenant: Tenant,
    long_job_after: Duration,
}

impl JobStream {
    pub(super) fn new(held: Held, store: Arc<dyn Store>, tenant: Tenant, long_job_after: Duration) -> Self {
        Self { number: held.new_stream(), held, store, tenant, long_job_after }
    }

    /// Hands jobs to the worker until it goes away; then what it holds goes back to the queue.
    pub(super) async fn run(
        self,
        mut jobs: BoxStream<'static, Delivery<v1::Job>>,
        sender: mpsc::Sender<Result<v1::JobServiceStreamJobsResponse, Status>>,
        stop: CancellationToken,
    ) {
        // Side by side: jobs are taken from the queue, or not, as places are given up or kept.
        tokio::select! {
            () = self.hand_out(&mut jobs, &sender) => {}
            () = self.look_after() => {}
            () = sender.closed() => {}
            () = stop.cancelled() => {}
        }
        for held in self.held.leave(self.number) {
            let Some(delivery) = held.delivery else { continue };
            if let Err(error) = delivery.release().await {
                tracing::debug!(%error, "a job could not be handed back: it comes again by itself");
            }
        }
    }

    /// Ends with the queue, or with the worker.
    async fn hand_out(
        &self,
        jobs: &mut BoxStream<'static, Delivery<v1::Job>>,
        sender: &mpsc::Sender<Result<v1::JobServiceStreamJobsResponse, Status>>,
    ) {
        while let Some(Delivery { body: job, acknowledge: delivery, place, .. }) = jobs.next().await {
            if let Some(copy) = self.held.hold(self.number, &job, &place, delivery) {
                // The worker has it. Should the stream end, the other one goes back.
                acknowledge(copy).await;
                continue;
            }
            if sender.send(Ok(v1::JobServiceStreamJobsResponse { job: Some(job) })).await.is_err() {
                return;
            }
        }
    }

    /// Never ends.
    async fn look_after(&self) {
        let mut look = time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let asked = self.held.older_than(self.number, LOOK_INTERVAL);
            if asked.is_empty() {
                continue;
            }
            let ids: Vec<_> = asked.iter().map(|asked| asked.ids).collect();
            match self.store.live_attempts(&self.tenant, &ids).await {
                Ok(live) => self.go_through(asked, live).await,
                // It is asked again.
                Err(error) => tracing::debug!(%error, "cannot ask what became of streamed jobs"),
            }
        }
    }

    async fn go_through(&self, asked: Vec<Asked>, live: Vec<LiveAttempt>) {
        let live: BTreeMap<JobId, LiveAttempt> = live.into_iter().map(|live| (live.job, live)).collect();
        let mut long = Vec::new();
        for Asked { attempt, ids: (_, job), age } in asked {
            match live.get(&job) {
                Some(live) if live.attempt == attempt.1 => {
                    if live.status == JobStatus::Running && age > self.long_job_after {
                        long.extend(self.held.outlive(self.number, &attempt));
                    }
                }
                _ => settle(self.held.take(&attempt.0, attempt.1)).await,
            }
        }
        join_all(long.into_iter().map(|(place, delivery)| async move {
            if let Some(place) = &place {
                place.outlive().await;
            }
            acknowledge(delivery).await;
        }))
        .await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::queue::{MemoryQueue, Queue as _};

    fn job(id: u128) -> v1::Job {
        let id = uuid::Uuid::from_u128(id).to_string();
        v1::Job { submission: id.clone(), job: id, attempt: 1, task_queue: "default".to_owned(), ..v1::Job::default() }
    }

    /// A queue with copies of one job.
    async fn copies(count: usize) -> BoxStream<'static, Delivery<v1::Job>> {
        let queue = MemoryQueue::new();
        queue.publish(vec![job(1); count]).await.unwrap();
        queue.jobs(vec!["default".to_owned()], 3)
    }

    /// Holds the next one. Whether the stream had it.
    async fn hold(held: &Held, stream: u64, jobs: &mut BoxStream<'static, Delivery<v1::Job>>) -> bool {
        let Delivery { body, acknowledge, place, .. } = jobs.next().await.unwrap();
        let copy = held.hold(stream, &body, &place, acknowledge);
        let known = copy.is_some();
        if let Some(copy) = copy {
            copy.acknowledge().await.unwrap();
        }
        known
    }

    #[tokio::test]
    async fn a_copy_of_an_attempt_is_held_once_by_a_stream_and_settled_with_it() {
        let mut jobs = copies(3).await;
        let held = Held::default();
        let (one, other) = (held.new_stream(), held.new_stream());
        assert!(!hold(&held, one, &mut jobs).await);
        assert!(!hold(&held, other, &mut jobs).await, "another worker may carry it out too");
        assert!(hold(&held, one, &mut jobs).await, "a second copy for one that has it");
        assert_eq!(held.leave(other).len(), 1);
        let over = held.take(&job(1).job, 1);
        assert_eq!(over.len(), 1);
        settle(over).await;
        assert!(held.lock().is_empty());
    }

    #[tokio::test]
    async fn a_long_attempt_stays_held_when_its_delivery_is_acknowledged() {
        let mut jobs = copies(2).await;
        let held = Held::default();
        let stream = held.new_stream();
        assert!(!hold(&held, stream, &mut jobs).await);
        assert!(held.older_than(stream, Duration::from_hours(1)).is_empty());
        assert!(held.older_than(stream + 1, Duration::ZERO).is_empty());
        let asked = held.older_than(stream, Duration::ZERO);
        let (_, delivery) = held.outlive(stream, &asked[0].attempt).unwrap();
        delivery.acknowledge().await.unwrap();
        assert!(hold(&held, stream, &mut jobs).await, "it is not streamed again");
        assert!(held.outlive(stream, &asked[0].attempt).is_none());
        assert!(held.leave(stream)[0].delivery.is_none(), "there is nothing to give back");
        assert!(held.lock().is_empty());
    }
}
