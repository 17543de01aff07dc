//! A worker from its start to its end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{sync::mpsc, task::JoinHandle, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    InvalidWorker, WorkerBuilder,
    attempt::{self, CANCEL_GRACE},
    flow::Flows,
    layer,
    ledger::{Entered, Ledger},
    limits::{Pace, Share},
    places::Places,
    transport::{
        Incoming, Transport,
        amqp::{Amqp, AmqpTarget},
        grpc::{Grpc, GrpcTarget},
    },
};

/// How long leaving may take once all handlers have ended: a last report, and closing the connection.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(15);

/// A worker that carries out jobs. Made by [`Worker::builder`].
pub struct Worker {
    plan: WorkerBuilder,
    target: Target,
}

enum Target {
    Amqp(Box<AmqpTarget>),
    Grpc(Box<GrpcTarget>),
}

/// A worker had to give up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The server does not let this worker in.
    #[error("the server refuses this worker: {0}")]
    Refused(String),
}

/// What the attempts of one share of a worker's task queues have in common.
pub(crate) struct Core {
    pub(crate) flows: Flows,
    pub(crate) flow_timeouts: HashMap<String, Duration>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) ledger: Ledger,
    pub(crate) name: String,
    pub(crate) long_job_after: Duration,
    pub(crate) manual_heartbeat: bool,
    /// The grace period is over: whatever still runs is cancelled and handed back.
    pub(crate) hard_stop: CancellationToken,
}

impl Core {
    pub(crate) fn new(plan: WorkerBuilder, transport: Arc<dyn Transport>) -> Self {
        Self {
            flows: layer::wrap_all(plan.flows, &plan.layers),
            flow_timeouts: plan.flow_timeouts,
            transport,
            ledger: Ledger::default(),
            name: plan.name,
            long_job_after: plan.long_job_after,
            manual_heartbeat: plan.manual_heartbeat,
            hard_stop: CancellationToken::new(),
        }
    }
}

impl Worker {
    /// Begins to put a worker together.
    #[must_use]
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    pub(crate) fn new(plan: WorkerBuilder) -> Result<Self, InvalidWorker> {
        let scheme = plan.url.split_once("://").map_or("", |(scheme, _)| scheme);
        let target = match scheme {
            "amqp" | "amqps" => Target::Amqp(Box::new(AmqpTarget::new(&plan)?)),
            "http" | "https" => Target::Grpc(Box::new(GrpcTarget::new(&plan)?)),
            _ => {
                return Err(InvalidWorker::Url(
                    "it has to begin with amqp://, amqps://, http:// or https://".to_owned(),
                ));
            }
        };
        Ok(Self { plan, target })
    }

    /// Where the worker takes its jobs from, without secrets.
    pub fn source(&self) -> String {
        match &self.target {
            Target::Amqp(target) => target.to_string(),
            Target::Grpc(target) => target.to_string(),
        }
    }

    /// Carries out jobs until `shutdown`; then takes no more, waits for the running ones up to the grace period, and hands
    /// back what is not done. A server or broker that is away is waited for.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let Self { plan, target } = self;
        let transport: Arc<dyn Transport> = match target {
            Target::Amqp(target) => Arc::new(Amqp::open(*target)),
            Target::Grpc(target) => Arc::new(Grpc::open(*target)),
        };
        let grace = plan.grace;
        let hard_stop = CancellationToken::new();
        let running = TaskTracker::new();
        let end = CancellationToken::new();
        let stop = shutdown.child_token();
        let serving = plan.shares().into_iter().map(|share| {
            let core = Core::new(plan.clone(), transport.clone());
            serve(Arc::new(Core { hard_stop: hard_stop.clone(), ..core }), &running, share, &stop, &end)
        });
        let taking = join_all(serving).await;

        running.close();
        if !running.is_empty() {
            info!(jobs = running.len(), grace_seconds = grace.as_secs(), "stopping: waiting for running jobs");
        }
        if time::timeout(grace, running.wait()).await.is_err() {
            warn!(jobs = running.len(), "the grace period is over: handing back what still runs");
            hard_stop.cancel();
            if time::timeout(CANCEL_GRACE + LEAVE_TIMEOUT, running.wait()).await.is_err() {
                warn!(jobs = running.len(), "jobs were left without handing them back");
            }
        }
        end.cancel();
        let taken = join_all(taking).await;
        if time::timeout(LEAVE_TIMEOUT, transport.close()).await.is_err() {
            warn!("the connection did not close in good order");
        }
        // A task that has panicked has nothing to say about the server.
        taken.into_iter().try_for_each(|taken| taken.unwrap_or(Ok(())))
    }
}

type Taking = JoinHandle<Result<(), WorkerError>>;

/// Takes jobs of a share and has them carried out, until `shutdown`, or until the server refuses us, which ends all shares. Answers with
/// the task that holds what keeps the running jobs ours: it ends after `end`.
async fn serve(
    core: Arc<Core>,
    running: &TaskTracker,
    share: Share,
    shutdown: &CancellationToken,
    end: &CancellationToken,
) -> Taking {
    let places = Places::new(share.concurrency);
    let mut pace = Pace::new(share.rate);
    let stop = shutdown.child_token();
    let (sender, mut incoming) = mpsc::channel(1);
    let transport = core.transport.clone();
    let taking = tokio::spawn(transport.take_jobs(share, places, sender, stop.clone(), end.clone()));
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = pace.turn() => {}
        }
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = incoming.recv() => next,
        };
        let Some(Incoming { job, hold, place }) = next else {
            shutdown.cancel();
            return taking;
        };
        match core.ledger.enter(&job, hold) {
            Entered::New(entry) => {
                pace.begin(time::Instant::now());
                let core = core.clone();
                running.spawn(async move {
                    attempt::carry_out(&core, job, &entry, &place).await;
                    drop(place);
                });
            }
            Entered::TakenOver => {}
            Entered::NotNeeded(hold) => hold.done().await,
        }
    }
    stop.cancel();
    while let Some(Incoming { hold, .. }) = incoming.recv().await {
        hold.release().await;
    }
    taking
}
