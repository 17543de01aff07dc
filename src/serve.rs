//! Running a server: configuration parsed whole before anything binds, parts started in order, and stopped in reverse.

mod dev;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quorate_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ServeError, Tls},
    auth::{Authenticator, Tokens},
    clock::SystemClock,
    metrics,
    queue::{InvalidAmqpUrl, MemoryQueue, Queue, QueueType, RabbitConfig, RabbitQueue},
    scheduler::{Running, Scheduler, Settings},
};

pub use dev::{Dev, dev};

/// How long calls under way may take when the server stops, before they are cut.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How long somebody who reads the metrics may take when the server stops.
const METRICS_DRAIN_MAX: Duration = Duration::from_secs(5);

/// What a server is told.
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its certificate and key; without them it speaks plain text.
    pub tls: Option<TlsFiles>,
    /// `postgres://…` or `sqlite:PATH`.
    pub database_url: String,
    /// The broker; without one jobs stay in this process, and workers come by gRPC.
    pub amqp_url: Option<String>,
    /// What the names on the broker begin with.
    pub amqp_prefix: String,
    /// The type of the broker's queues.
    pub queue_type: QueueType,
    /// How many lanes there are; by the store where it is not said.
    pub lanes: Option<usize>,
    /// After which time a published job that nobody started is published again.
    pub redelivery_interval: Duration,
    /// Where metrics are shown; nowhere when it is not said.
    pub metrics_listen: Option<SocketAddr>,
    /// After which time a job that a worker over gRPC carries out is acknowledged at the queue.
    pub long_job_after: Duration,
    /// Whether other systems are told of the life of submissions, by messages on the broker.
    pub events: bool,
}

/// PEM files.
pub struct TlsFiles {
    /// The chain of certificates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store is not fit.
    #[error("the database: {0}")]
    Store(#[from] StoreError),
    /// The broker's URL is not one.
    #[error(transparent)]
    Amqp(#[from] InvalidAmqpUrl),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// A file cannot be read or made.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is no way to know who calls.
    #[error(
        "no API token exists, so no caller could be known: make one with `quorate token create --user NAME --role ROLE`, \
         or use `quorate dev` on this machine alone"
    )]
    NoTokens,
    /// A development server believes every caller.
    #[error("a development server believes every caller, so it listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// Serving ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task has panicked, which the log tells of. Whoever watches over the server starts it anew.
    #[error("a part of the server failed")]
    Failed,
    /// The example could not be set up.
    #[error("the example could not be set up: {0}")]
    Seed(String),
}

/// A server that runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), ServeError>>,
    scheduler: Scheduler,
    running: Running,
}

/// What a server is made of.
struct Parts {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    authenticator: Authenticator,
    tls: Option<Tls>,
    settings: Settings,
}

impl Server {
    async fn start(listen: SocketAddr, parts: Parts) -> Result<Self, StartError> {
        let (listener, address) = bind(listen).await?;
        let clock = Arc::new(SystemClock);
        let (scheduler, running) = Scheduler::start(parts.store, parts.queue, clock, parts.settings);
        let stop = CancellationToken::new();
        let serving = api::serve(listener, scheduler.clone(), parts.authenticator, parts.tls, stop.clone());
        let serving = tokio::spawn(serving);
        Ok(Self { address, stop, serving, scheduler, running })
    }

    /// Whether the server, or a part of it, has ended by itself.
    fn has_failed(&self) -> bool {
        self.serving.is_finished() || self.running.has_failed()
    }

    /// Takes no more calls, finishes those under way, and then all that was accepted.
    pub async fn stop(self) -> Result<(), StartError> {
        let failed = self.running.has_failed();
        if failed {
            tracing::error!("a part of the server has ended by itself: the server stops");
        }
        self.stop.cancel();
        let abort = self.serving.abort_handle();
        let served = match tokio::time::timeout(DRAIN_MAX, self.serving).await {
            Ok(Ok(served)) => served,
            Ok(Err(error)) => {
                tracing::error!(%error, "the API panicked");
                Ok(())
            }
            Err(_) => {
                tracing::warn!("calls under way were cut: they took longer than {} s", DRAIN_MAX.as_secs());
                abort.abort();
                Ok(())
            }
        };
        if tokio::time::timeout(DRAIN_MAX, self.running.stop(self.scheduler)).await.is_err() {
            tracing::warn!("the scheduler did not come to rest: what is not stored was not answered");
        }
        served?;
        if failed { Err(StartError::Failed) } else { Ok(()) }
    }
}

/// Runs a server until `stop` is ready.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let tls = match &config.tls {
        Some(files) => Some(Tls { certificate: read(&files.certificate).await?, key: read(&files.key).await? }),
        None => None,
    };
    if tls.is_none() && !api::is_loopback(config.listen) {
        tracing::warn!(listen = %config.listen, "serving without TLS: put a proxy in front that speaks it");
    }
    let store = quorate_store::open(&config.database_url).await?;
    store.check_schema().await?;
    if store.list_api_tokens().await?.is_empty() {
        return Err(StartError::NoTokens);
    }
    let shared_store = !config.database_url.starts_with("sqlite:");
    let queue: Arc<dyn Queue> = match &config.amqp_url {
        Some(url) => {
            let connection_name = "quorate server".to_owned();
            let (prefix, queue_type) = (config.amqp_prefix.clone(), config.queue_type);
            let rabbit = RabbitConfig { prefix, queue_type, connection_name, ..RabbitConfig::new(url) };
            Arc::new(RabbitQueue::connect(&rabbit)?)
        }
        None => Arc::new(MemoryQueue::new()),
    };
    if config.amqp_url.is_none() {
        // The queue of the process before died with it.
        store.redeliver_all(jiff::Timestamp::now()).await?;
    }
    let settings = Settings {
        lanes: config.lanes.unwrap_or(if shared_store { Settings::default().lanes } else { 1 }),
        redelivery_interval: config.redelivery_interval,
        long_job_after: config.long_job_after,
        shared_store,
        announce: config.events && config.amqp_url.is_some(),
        ..Settings::default()
    };
    let metrics = match config.metrics_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let authenticator = Authenticator::Tokens(Arc::new(Tokens::new(Arc::clone(&store))));
    let server = Server::start(config.listen, Parts { store, queue, authenticator, tls, settings }).await?;
    tracing::info!(listen = %server.address, "serving");
    let stop_metrics = CancellationToken::new();
    let metrics = metrics.map(|(listener, address)| {
        tracing::info!(metrics = %address, "showing metrics");
        metrics::serve(listener, server.scheduler.clone(), stop_metrics.clone())
    });
    wait(&server, stop).await;
    tracing::info!("stopping: finishing what was accepted");
    // They hold the scheduler, which comes to rest when nobody does.
    stop_metrics.cancel();
    if let Some(metrics) = metrics {
        let abort = metrics.abort_handle();
        if tokio::time::timeout(METRICS_DRAIN_MAX, metrics).await.is_err() {
            abort.abort();
        }
    }
    server.stop().await
}

/// Listens, and says where: the port may be left to the system.
async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { address: listen, error };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Waits for `stop`, or for the server to end by itself.
async fn wait(server: &Server, stop: impl Future<Output = ()>) {
    let failed = async {
        while !server.has_failed() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = stop => {}
        () = failed => {}
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    tokio::fs::read(path).await.map_err(|error| StartError::File { path: path.to_owned(), error })
}
