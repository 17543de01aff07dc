//! The queue within one process: for the embedded server, and for simulations.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

use crate::{
    metrics::COUNTED,
    proto::v1::{Job, JobReport, RecordChange},
    queue::{
        Acknowledge, BODY_BYTES_MAX, Delivery, LifecycleEvent, Published, Queue, QueueUnavailable, Served,
        TASK_QUEUE_NAME_MAX, excess, is_task_queue_name,
        places::{Place, Places},
    },
};

/// Jobs of one task queue, waiting or unsettled. What does not fit stays in the store, from where it comes again.
const JOBS_MAX: usize = 10_000;

/// Reports, waiting or unsettled.
const REPORTS_MAX: u16 = 10_000;

/// Task queues that may exist. A task queue that is empty and has nobody to serve it does not count.
const TASK_QUEUES_MAX: usize = 1_000;

/// Buried messages that are kept for looking at: the newest.
const DEAD_MAX: usize = 1_000;

/// The name under which reports queue up: task queues cannot have it, so that one map holds both.
const RESULTS: &str = "";

/// The queue within one process. Clones are the same queue.
#[derive(Clone, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something can be taken that could not before, or the queue has closed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    jobs: HashMap<String, Fifo<Job>>,
    reports: Fifo<JobReport>,
    /// How many streams each source has; those without any are left out.
    consumers: HashMap<String, u32>,
    /// What was buried, with the reason.
    dead: VecDeque<(String, String)>,
    next_number: u64,
    closed: bool,
}

/// Whoever takes from some sources: counted for as long as its stream is held.
struct Consumer {
    shared: Arc<Shared>,
    sources: Vec<String>,
}

impl Consumer {
    fn new(shared: Arc<Shared>, sources: Vec<String>) -> Self {
        let mut state = shared.lock();
        for source in &sources {
            *state.consumers.entry(source.clone()).or_default() += 1;
        }
        drop(state);
        Self { shared, sources }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for source in &self.sources {
            if let Some(count) = state.consumers.get_mut(source) {
                *count -= 1;
                if *count == 0 {
                    state.consumers.remove(source);
                }
            }
        }
    }
}

/// Messages by the number they came in with, so that one that goes back takes its old place.
struct Fifo<T> {
    waiting: BTreeMap<u64, T>,
    unsettled: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), unsettled: 0 }
    }
}

impl<T> Fifo<T> {
    fn len(&self) -> usize {
        self.waiting.len() + self.unsettled
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report in, as the broker takes it from a worker.
    pub fn report(&self, report: JobReport) -> Result<(), QueueUnavailable> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(QueueUnavailable("it is closed".to_owned()));
        }
        if state.reports.len() >= usize::from(REPORTS_MAX) {
            return Err(QueueUnavailable(format!("it holds {REPORTS_MAX} reports already")));
        }
        let number = state.take_number();
        state.reports.waiting.insert(number, report);
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// What was buried: the name of the queue it came from, and the reason. The oldest first, at most the newest 1,000.
    pub fn dead(&self) -> Vec<(String, String)> {
        self.shared.lock().dead.iter().cloned().collect()
    }

    fn stream<T: Kind>(&self, sources: Vec<String>, unsettled_max: u16) -> BoxStream<'static, Delivery<T>> {
        let places = Places::new(unsettled_max);
        let consumer = Consumer::new(self.shared.clone(), sources);
        stream::unfold((consumer, places), |(consumer, places)| async move {
            let delivery = consumer.shared.next(&consumer.sources, &places).await?;
            Some((delivery, (consumer, places)))
        })
        .boxed()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, jobs: Vec<Job>) -> Result<Vec<Published>, QueueUnavailable> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(QueueUnavailable("it is closed".to_owned()));
        }
        let answers: Vec<Published> = jobs.into_iter().map(|job| state.publish(job)).collect();
        drop(state);
        COUNTED.refused("jobs", &answers);
        self.shared.changed.notify_waiters();
        Ok(answers)
    }

    async fn publish_events(&self, events: Vec<LifecycleEvent>) -> Result<Vec<Published>, QueueUnavailable> {
        // Nobody can subscribe from outside.
        Ok(vec![Published::Confirmed; events.len()])
    }

    fn reports(&self) -> BoxStream<'static, Delivery<JobReport>> {
        self.stream(vec![RESULTS.to_owned()], REPORTS_MAX)
    }

    fn record_changes(&self) -> BoxStream<'static, Delivery<RecordChange>> {
        stream::pending().boxed()
    }

    fn jobs(&self, task_queues: Vec<String>, concurrency: u16) -> BoxStream<'static, Delivery<Job>> {
        self.stream(task_queues, concurrency.max(1))
    }

    async fn served(&self, task_queues: &[String]) -> Result<Vec<Option<Served>>, QueueUnavailable> {
        let state = self.shared.lock();
        let served = task_queues.iter().map(|name| Served {
            consumers: state.consumers.get(name).copied().unwrap_or_default(),
            waiting: state.jobs.get(name).map_or(0, |jobs| u32::try_from(jobs.waiting.len()).unwrap_or(u32::MAX)),
        });
        Ok(served.map(Some).collect())
    }

    async fn dead_letters(&self) -> Result<u64, QueueUnavailable> {
        Ok(self.shared.lock().dead.len() as u64)
    }

    fn is_connected(&self) -> bool {
        !self.shared.lock().closed
    }

    async fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_waiters();
    }
}

impl State {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn publish(&mut self, job: Job) -> Published {
        if !is_task_queue_name(&job.task_queue) {
            return Published::Refused(format!(
                "the task queue's name is not 1 to {TASK_QUEUE_NAME_MAX} of a-z 0-9 . _ -"
            ));
        }
        if let Some(bytes) = excess(&job) {
            return Published::Refused(format!(
                "the job has {bytes} bytes as JSON, at most {BODY_BYTES_MAX} are allowed"
            ));
        }
        let held = self.jobs.get(&job.task_queue).map(Fifo::len);
        if held.is_none() && self.jobs.len() >= TASK_QUEUES_MAX {
            return Published::Unconfirmed(format!("there are {TASK_QUEUES_MAX} task queues already"));
        }
        if held.is_some_and(|held| held >= JOBS_MAX) {
            return Published::Unconfirmed(format!("the task queue holds {JOBS_MAX} jobs already"));
        }
        let number = self.take_number();
        self.jobs.entry(job.task_queue.clone()).or_default().waiting.insert(number, job);
        Published::Confirmed
    }

    fn bury(&mut self, source: &str, reason: &str) {
        COUNTED.buried(if source == RESULTS { "results" } else { "jobs" });
        if self.dead.len() >= DEAD_MAX {
            self.dead.pop_front();
        }
        self.dead.push_back((source.to_owned(), reason.to_owned()));
    }
}

/// A kind of message, and where it queues up.
trait Kind: Send + Clone + 'static {
    fn fifo<'a>(state: &'a mut State, source: &str) -> Option<&'a mut Fifo<Self>>;
    /// Called when something has left for good.
    fn left(state: &mut State, source: &str);
}

impl Kind for Job {
    fn fifo<'a>(state: &'a mut State, source: &str) -> Option<&'a mut Fifo<Self>> {
        state.jobs.get_mut(source)
    }

    fn left(state: &mut State, source: &str) {
        if state.jobs.get(source).is_some_and(|fifo| fifo.len() == 0) {
            state.jobs.remove(source);
        }
    }
}

impl Kind for JobReport {
    fn fifo<'a>(state: &'a mut State, _source: &str) -> Option<&'a mut Fifo<Self>> {
        Some(&mut state.reports)
    }

    fn left(_state: &mut State, _source: &str) {}
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done where it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next<T: Kind>(self: &Arc<Self>, sources: &[String], places: &Arc<Places>) -> Option<Delivery<T>> {
        places.free().await;
        loop {
            // Made before looking, so that no change between looking and waiting is missed.
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if let Some((source, number, body)) = take_oldest::<T>(&mut state, sources) {
                    let taken = Arc::new(places.take());
                    let (place, kept) = (Arc::downgrade(&taken), Some(body.clone()));
                    let settle = Settle { shared: self.clone(), source, number, body: kept, _place: taken };
                    return Some(Delivery { body, message_id: None, acknowledge: Box::new(settle), place });
                }
            }
            changed.await;
        }
    }
}

/// The oldest over all sources: a busy task queue does not starve a quiet one.
fn take_oldest<T: Kind>(state: &mut State, sources: &[String]) -> Option<(String, u64, T)> {
    let mut oldest: Option<(u64, &String)> = None;
    for source in sources {
        let first = T::fifo(state, source).and_then(|fifo| fifo.waiting.first_key_value().map(|(number, _)| *number));
        if let Some(number) = first
            && oldest.is_none_or(|(other, _)| number < other)
        {
            oldest = Some((number, source));
        }
    }
    let (_, source) = oldest?;
    let fifo = T::fifo(state, source)?;
    let (number, body) = fifo.waiting.pop_first()?;
    fifo.unsettled += 1;
    Some((source.clone(), number, body))
}

/// Settles one delivery.
struct Settle<T: Kind> {
    shared: Arc<Shared>,
    source: String,
    number: u64,
    /// Until it is settled.
    body: Option<T>,
    _place: Arc<Place>,
}

impl<T: Kind> Settle<T> {
    fn done(&mut self, reason_of_death: Option<&str>) {
        if self.body.take().is_none() {
            return;
        }
        let mut state = self.shared.lock();
        if let Some(fifo) = T::fifo(&mut state, &self.source) {
            fifo.unsettled -= 1;
        }
        T::left(&mut state, &self.source);
        if let Some(reason) = reason_of_death {
            state.bury(&self.source, reason);
        }
    }
}

#[async_trait]
impl<T: Kind> Acknowledge for Settle<T> {
    async fn acknowledge(mut self: Box<Self>) -> Result<(), QueueUnavailable> {
        self.done(None);
        Ok(())
    }

    async fn release(self: Box<Self>) -> Result<(), QueueUnavailable> {
        drop(self);
        Ok(())
    }

    async fn bury(mut self: Box<Self>, reason: &str) -> Result<(), QueueUnavailable> {
        self.done(Some(reason));
        Ok(())
    }
}

impl<T: Kind> Drop for Settle<T> {
    /// Not settled: back to its place.
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let mut state = self.shared.lock();
        if let Some(fifo) = T::fifo(&mut state, &self.source) {
            fifo.unsettled -= 1;
            fifo.waiting.insert(self.number, body);
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn job(number: usize) -> Job {
        Job { job: number.to_string(), task_queue: "default".into(), ..Job::default() }
    }

    #[tokio::test]
    async fn a_full_task_queue_takes_the_rest_later() {
        let queue = MemoryQueue::new();
        let answers = queue.publish((0..=JOBS_MAX).map(job).collect()).await.unwrap();
        assert!(answers[..JOBS_MAX].iter().all(|answer| *answer == Published::Confirmed));
        assert!(matches!(answers[JOBS_MAX], Published::Unconfirmed(_)));

        let mut jobs = queue.jobs(vec!["default".into()], 1);
        let delivery = jobs.next().await.unwrap();
        // Unsettled ones count: what goes back must find its place free.
        assert!(matches!(queue.publish(vec![job(0)]).await.unwrap()[0], Published::Unconfirmed(_)));
        delivery.acknowledge.acknowledge().await.unwrap();
        assert_eq!(queue.publish(vec![job(0)]).await.unwrap(), [Published::Confirmed]);
    }

    #[tokio::test]
    async fn several_consumers_share_the_jobs() {
        let queue = MemoryQueue::new();
        let mut one = queue.jobs(vec!["default".into()], 1);
        let mut other = queue.jobs(vec!["default".into(), "more".into()], 1);
        queue.publish((0..4).map(job).collect()).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            for consumer in [&mut one, &mut other] {
                let delivery = consumer.next().await.unwrap();
                seen.push(delivery.body.job.clone());
                delivery.acknowledge.acknowledge().await.unwrap();
            }
        }
        assert_eq!(seen, ["0", "1", "2", "3"]);
    }
}
