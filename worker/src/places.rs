//! The places of whoever carries out jobs, and what a broker is let deliver for them.
//!
//! A broker bounds the deliveries of a consumer that are not settled. The delivery of a long job is settled while its place is still
//! taken, so that the broker would send another one, which would lie here while other workers have nothing to do; sent back, it would
//! come again, and a quorum queue counts how often. So the consumers end *before* such a delivery is settled, and others begin for the
//! places that are free, and for those that become free. What was delivered to consumers that have ended is not counted for those that
//! come after them.
//!
//! The server's consumers of jobs for workers over gRPC need the same: it compiles this file too, as it does not link the worker for
//! what it does itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

/// About how many consumers share the places, at the most: for each that becomes free one could begin.
const CONSUMERS_MAX: usize = 8;

/// As many jobs as are carried out at once.
pub(crate) struct Places {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
struct State {
    total: usize,
    taken: usize,
    /// Of the taken ones: those whose deliveries count for the consumers that there are.
    counted: usize,
    /// Of the taken ones: those of jobs whose deliveries are settled.
    outlived: usize,
    /// How many deliveries the consumers that there are may have unsettled, all together.
    granted: usize,
    /// Another one whenever consumers were ended.
    generation: u64,
}

/// What the consumers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// More could be delivered than there are places: all of them have to end.
    End,
    /// Fewer could be: one more, for so many deliveries.
    Begin(usize),
}

impl Places {
    pub(crate) fn new(total: u16) -> Arc<Self> {
        let total = usize::from(total);
        let state = State { total, taken: 0, counted: 0, outlived: 0, granted: 0, generation: 0 };
        Arc::new(Self { state: watch::Sender::new(state) })
    }

    /// Waits until there is a free one.
    pub(crate) async fn free(&self) {
        self.wait_for(|state| state.taken < state.total).await;
    }

    /// Takes one for a job that has come. Whoever takes has waited for it, and nobody else takes.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        let mut generation = 0;
        self.state.send_modify(|state| {
            state.taken += 1;
            state.counted += 1;
            generation = state.generation;
        });
        Place { places: self.clone(), generation, outlived: AtomicBool::new(false) }
    }

    /// The first consumer of a connection begins: for so many deliveries. What came over the connection before it comes again, and is
    /// counted as what it is a copy of.
    pub(crate) fn begin(&self) -> usize {
        let mut granted = 0;
        self.state.send_modify(|state| {
            granted = state.total.saturating_sub(state.uncounted());
            state.granted = granted;
        });
        granted
    }

    /// Another consumer begins.
    pub(crate) fn begin_another(&self, granted: usize) {
        self.state.send_modify(|state| state.granted += granted);
    }

    /// The consumers were ended, and have given back what they had not handed over.
    pub(crate) fn end(&self) {
        self.state.send_modify(|state| {
            state.granted = 0;
            state.counted = 0;
            state.generation += 1;
        });
    }

    /// The consumers have gone with their connection.
    pub(crate) fn lost(&self) {
        self.state.send_modify(|state| state.granted = 0);
    }

    /// Waits until something has to be done. With this many task queues a consumer is not worth its while for fewer deliveries.
    pub(crate) async fn order(&self, task_queues: usize) -> Order {
        let mut states = self.state.subscribe();
        loop {
            let order = states.borrow_and_update().order(task_queues);
            if let Some(order) = order {
                return order;
            }
            if states.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn wait_for(&self, holds: impl FnMut(&State) -> bool) {
        // The sender is in this very value.
        let _ = self.state.subscribe().wait_for(holds).await;
    }
}

impl State {
    /// Places that are taken and that the broker knows nothing of.
    fn uncounted(&self) -> usize {
        self.taken.saturating_sub(self.counted)
    }

    fn order(&self, task_queues: usize) -> Option<Order> {
        let bound = self.granted + self.uncounted();
        if bound > self.total {
            return Some(Order::End);
        }
        let missing = self.total - bound;
        // What is delivered to consumers that have ended is settled soon: they are waited for, but not where nothing could come.
        let enough = (self.total / CONSUMERS_MAX).max(task_queues);
        let worth = self.granted == 0 || missing >= enough || self.uncounted() == self.outlived;
        (missing > 0 && worth).then_some(Order::Begin(missing))
    }
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    generation: u64,
    outlived: AtomicBool,
}

impl Place {
    /// The job goes on when its delivery is settled, which may be done once this has ended: then no other comes in its place.
    pub(crate) async fn outlive(&self) {
        let Self { places, generation, outlived } = self;
        if !outlived.swap(true, Ordering::SeqCst) {
            places.state.send_modify(|state| {
                state.outlived += 1;
                state.counted -= usize::from(*generation == state.generation);
            });
        }
        places.wait_for(|state| state.granted + state.uncounted() <= state.total).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let outlived = *self.outlived.get_mut();
        self.places.state.send_modify(|state| {
            state.taken -= 1;
            state.outlived -= usize::from(outlived);
            state.counted -= usize::from(!outlived && self.generation == state.generation);
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn order(places: &Places) -> Option<Order> {
        places.order(1).now_or_never()
    }

    /// Places with their first consumer, and so many jobs.
    fn busy(total: u16, jobs: usize) -> (Arc<Places>, Vec<Place>) {
        let places = Places::new(total);
        assert_eq!(places.begin(), usize::from(total));
        let taken = (0..jobs).map(|_| places.take()).collect();
        (places, taken)
    }

    #[test]
    fn short_jobs_need_nothing_but_the_first_consumer() {
        let (places, mut taken) = busy(2, 2);
        assert_eq!((order(&places), places.free().now_or_never()), (None, None));
        taken.pop();
        assert_eq!((order(&places), places.free().now_or_never()), (None, Some(())));
        taken.push(places.take());
        assert_eq!(order(&places), None);
    }

    #[test]
    fn the_consumers_end_before_a_long_job_is_settled() {
        let (places, mut taken) = busy(2, 2);
        let long = taken.pop().unwrap();
        assert_eq!(long.outlive().now_or_never(), None, "another job could come now");
        assert_eq!(order(&places), Some(Order::End));
        places.end();
        assert_eq!(long.outlive().now_or_never(), Some(()));
        assert_eq!(order(&places), None, "no place is free");
        taken.clear();
        assert_eq!(order(&places), Some(Order::Begin(1)));
        places.begin_another(1);
        let short = places.take();
        drop(short);
        assert_eq!(order(&places), None, "the long job has the other place");
        drop(long);
        assert_eq!(order(&places), Some(Order::Begin(1)));
        places.begin_another(1);
        assert_eq!(order(&places), None);
    }

    #[test]
    fn with_all_places_taken_by_long_jobs_nothing_is_consumed() {
        let (places, taken) = busy(2, 2);
        for long in &taken {
            assert_eq!(long.outlive().now_or_never(), None);
        }
        places.end();
        assert!(taken.iter().all(|long| long.outlive().now_or_never().is_some()));
        assert_eq!((order(&places), places.begin()), (None, 0));
    }

    #[test]
    fn what_was_delivered_before_a_loss_is_counted_as_its_copies_are() {
        let (places, taken) = busy(3, 2);
        places.lost();
        assert_eq!((places.begin(), order(&places)), (3, None));
        drop(taken);
        assert_eq!(order(&places), None);
    }

    #[test]
    fn a_few_consumers_are_enough_for_many_places() {
        let (places, mut taken) = busy(64, 64);
        assert_eq!(taken[0].outlive().now_or_never(), None);
        places.end();
        let mut consumers = 0;
        while let Some(ended) = taken.pop() {
            drop(ended);
            while let Some(Order::Begin(granted)) = order(&places) {
                consumers += 1;
                places.begin_another(granted);
            }
        }
        assert!((1..=CONSUMERS_MAX + 2).contains(&consumers), "{consumers} consumers");
        let all: Vec<Place> = (0..64).map(|_| places.take()).collect();
        assert_eq!((order(&places), all.len()), (None, 64));
    }
}
