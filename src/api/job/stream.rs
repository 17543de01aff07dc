//! The streams of jobs to workers over gRPC, and what they hold.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    proto::v1,
    queue::{Acknowledge, Delivery},
};

/// How often streams look for jobs that are long by now, at the least.
const HELD_LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// What the streams of this server hold: so that a report can settle it, and that nothing is streamed twice to one worker.
#[derive(Clone, Default)]
pub(in crate::api) struct Held {
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
    pub(super) fn take(&self, job: &str, attempt: u32) -> Vec<Box<dyn Acknowledge>> {
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

/// Hands jobs to one worker until it goes away; then what it holds goes back to the queue.
pub(super) async fn stream_jobs(
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
