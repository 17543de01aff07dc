//! The scheduler: lanes carry every change of a submission, the publisher and the relay bring jobs to the queue, the timers
//! and the reports bring what happened back to the lanes (DESIGN 4, "The one write path").

mod announcer;
mod cache;
pub mod catalog;
mod held;
pub mod hub;
mod jobs;
mod lane;
pub mod lifecycle;
mod publisher;
pub mod records;
mod rehearsal;
mod reports;
pub mod task_queues;
mod timers;

use std::{hash::Hasher as _, sync::Arc, time::Duration};

use quorate_engine::{
    command::Command,
    id::{SubmissionId, Tenant},
    refusal::Refusal,
    state::Submission,
};
use quorate_store::{Store, log::Hash, store::RequestKey};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, queue::Queue};

pub use lane::SubmitAsk;
pub use reports::ReportError;

/// How many requests may wait at one lane: some seconds of work. Beyond it calls are answered with `OVERLOADED`.
const LANE_WAITING_MAX: usize = 4_096;

/// How the scheduler works; every duration is named in `deploy/quorate.env`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many lanes there are. One commit is under way per lane; fewer lanes make larger batches.
    pub lanes: usize,
    /// After which time a published job that no worker has started or ended is published again. It doubles with each time, up
    /// to an hour.
    pub redelivery_interval: Duration,
    /// After which time a job that a worker over gRPC carries out is acknowledged, although it has not been reported: it lives by
    /// heartbeats and timeouts from then on, since a broker closes channels that hold a delivery too long (DESIGN 6).
    pub long_job_after: Duration,
    /// How often the relay and the timers look for what is due.
    pub tick: Duration,
    /// Whether other servers may change the same store: then a refusal is checked against the store before it is given.
    pub shared_store: bool,
    /// Whether other systems are told of the life of submissions, by messages of the queue.
    pub announce: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lanes: 4,
            redelivery_interval: Duration::from_mins(5),
            long_job_after: Duration::from_mins(5),
            tick: Duration::from_millis(200),
            shared_store: true,
            announce: false,
        }
    }
}

/// What is asked of a submission.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A new submission of a process's active version.
    Submit(Box<SubmitAsk>),
    /// A command.
    Command(Command),
}

/// A request to a lane.
#[derive(Debug)]
pub struct Request {
    /// Whose.
    pub tenant: Tenant,
    /// Which submission; a new one's id.
    pub submission: SubmissionId,
    /// What.
    pub ask: Ask,
    /// By what the call is known when it comes again, and the digest of its method and body.
    pub key: Option<(RequestKey, Hash)>,
}

/// The submission after what was asked; of a call that came again, as the first answer showed it.
pub type Answer = Arc<Submission>;

/// Why a request was not carried out. Nothing has changed, but for `Unavailable`, where that is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Rejection {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no active version of the process.
    #[error("process `{0}` has no active version")]
    ProcessNotActive(String),
    /// The request id was used before, with another body.
    #[error("the request id was used before with another request")]
    RequestReused,
    /// A change of a record concerns too many submissions.
    #[error("the record has more than {max} open submissions: a change of it can be told to at most so many")]
    TooManyOpen {
        /// How many there may be.
        max: u32,
    },
    /// Too many requests are waiting.
    #[error("the server is overloaded: too many requests are waiting")]
    Overloaded,
    /// The store is away. Whether the change was stored is not known: the same call with the same request id is safe.
    #[error("the store is not available")]
    Unavailable,
    /// A fault of the server: it has been logged.
    #[error("the server failed")]
    Internal,
}

struct Waiting {
    request: Request,
    reply: oneshot::Sender<Result<Answer, Rejection>>,
}

/// What the parts of the scheduler share.
struct Shared {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    catalog: catalog::Catalog,
    hub: hub::Hub,
    settings: Settings,
}

/// The scheduler: cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    lanes: Arc<[mpsc::Sender<Waiting>]>,
    shared: Arc<Shared>,
}

/// The tasks of a running scheduler, to be awaited when it stops.
pub struct Running {
    stop: CancellationToken,
    consumers: Vec<JoinHandle<()>>,
    lanes: Vec<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts the lanes and all that feeds them.
    pub fn start(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> (Self, Running) {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            catalog: catalog::Catalog::new(Arc::clone(&store)),
            hub: hub::Hub::default(),
            store,
            queue,
            clock,
            settings,
        });
        let (publisher, failures, publishing) = publisher::start(Arc::clone(&shared), stop.clone());
        let (announcer, announcing) = announcer::start(Arc::clone(&shared), stop.clone());
        let announces = shared.settings.announce;
        let mut lanes = vec![publishing];
        // Where nobody is told, its tasks have nothing to do and end at once.
        lanes.extend(Some(announcing).filter(|_| announces));
        let senders: Vec<_> = (0..shared.settings.lanes.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(LANE_WAITING_MAX);
                let lane = lane::Lane::new(Arc::clone(&shared), publisher.clone(), announcer.clone());
                lanes.push(tokio::spawn(lane.run(receiver)));
                sender
            })
            .collect();
        let scheduler = Self { lanes: senders.into(), shared };
        let relaying = tokio::spawn(announcer::relay(Arc::clone(&scheduler.shared), announcer, stop.clone()));
        let mut consumers = vec![
            tokio::spawn(publisher::fail_refused(scheduler.clone(), failures, stop.clone())),
            tokio::spawn(publisher::relay(Arc::clone(&scheduler.shared), publisher, stop.clone())),
            tokio::spawn(timers::run(scheduler.clone(), stop.clone())),
            tokio::spawn(reports::run(scheduler.clone(), stop.clone())),
            tokio::spawn(records::run(scheduler.clone(), stop.clone())),
            tokio::spawn(hub::poll(scheduler.clone(), stop.clone())),
        ];
        consumers.extend(Some(relaying).filter(|_| announces));
        (scheduler, Running { stop, consumers, lanes })
    }

    /// Asks something of a submission and waits for the commit. At once `Overloaded` when too much waits already.
    pub async fn ask(&self, request: Request) -> Result<Answer, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.lane(&request).try_send(Waiting { request, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Rejection::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Rejection::Unavailable,
        })?;
        answer.await.unwrap_or(Err(Rejection::Unavailable))
    }

    /// As [`ask`](Self::ask), but waits for room at the lane: for what comes from the queue and the timers.
    async fn ask_in_turn(&self, request: Request) -> Result<Answer, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.lane(&request).send(Waiting { request, reply }).await.map_err(|_| Rejection::Unavailable)?;
        answer.await.unwrap_or(Err(Rejection::Unavailable))
    }

    /// The catalog of definitions and people.
    pub fn catalog(&self) -> &catalog::Catalog {
        &self.shared.catalog
    }

    /// Where calls wait for a submission to change.
    pub fn hub(&self) -> &hub::Hub {
        &self.shared.hub
    }

    /// The store, for reading.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// How it works.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The queue, for workers that come over gRPC.
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.shared.queue
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    fn lane(&self, request: &Request) -> &mpsc::Sender<Waiting> {
        // The low bits of a UUIDv7 are random; the hash only has to be the same within this process.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(request.submission.0.as_bytes());
        let index = hasher.finish() % self.lanes.len() as u64;
        &self.lanes[usize::try_from(index).unwrap_or_default()]
    }
}

impl Running {
    /// Whether one of the tasks has ended, which none does before it is told to: it has panicked. What was its to do is not done any
    /// more, so that the server is of no use.
    pub fn has_failed(&self) -> bool {
        !self.stop.is_cancelled() && self.consumers.iter().chain(&self.lanes).any(JoinHandle::is_finished)
    }

    /// Stops taking from the queue and the timers, lets the lanes finish what they hold, and waits for all of it. Every
    /// [`Scheduler`] has to be dropped by then, or lanes go on for those that remain.
    pub async fn stop(self, scheduler: Scheduler) {
        self.stop.cancel();
        scheduler.shared.queue.close().await;
        for consumer in self.consumers {
            log_panic(consumer.await);
        }
        drop(scheduler);
        for lane in self.lanes {
            log_panic(lane.await);
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the scheduler panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panicked_is_noticed() {
        let stop = CancellationToken::new();
        let until_stopped = || tokio::spawn(stop.clone().cancelled_owned());
        let mut running =
            Running { stop: stop.clone(), consumers: vec![until_stopped()], lanes: vec![until_stopped()] };
        tokio::task::yield_now().await;
        assert!(!running.has_failed());
        running.lanes.push(tokio::spawn(async { panic!("a fault of the test's own") }));
        while !running.has_failed() {
            tokio::task::yield_now().await;
        }
        // All end when they are told to.
        stop.cancel();
        assert!(!running.has_failed());
    }
}
