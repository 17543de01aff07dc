//! A whole server in the process of the test: a store, the queue in memory, the API on a loopback port, and a clock that only
//! moves when it is told to.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use quorate::{
    api::{self, ServeError},
    auth::{Authenticator, Tokens},
    clock::Clock,
    queue::MemoryQueue,
    scheduler::{Running, Scheduler, Settings},
};
use quorate_store::Store;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// What the scenarios are played on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    Sqlite,
    Postgres,
}

/// Where a server keeps its data; it goes with it.
enum Database {
    File(TempDir),
    Postgres(String),
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) runtime: Handle,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: Scheduler,
    pub(crate) clock: Arc<HandMovedClock>,
    pub(crate) channel: Channel,
    running: Running,
    serving: JoinHandle<Result<(), ServeError>>,
    stop: CancellationToken,
    tenants: AtomicU32,
    _database: Database,
}

/// A clock that stands until it is moved.
pub(crate) struct HandMovedClock {
    now: Mutex<Timestamp>,
}

impl HandMovedClock {
    pub(crate) fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
    }
}

impl Clock for HandMovedClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
}

impl Server {
    pub(crate) fn start(kind: StoreKind, runtime: Handle) -> Self {
        let database = Database::new(kind);
        // Nothing looks for what is due by itself: its moment is in the script.
        let settings =
            Settings { tick: Duration::from_hours(24), shared_store: database.is_shared(), ..Settings::default() };
        let stop = CancellationToken::new();
        let clock = Arc::new(HandMovedClock { now: Mutex::new(Timestamp::UNIX_EPOCH) });
        let started = async {
            let store = quorate_store::open(&database.url()).await.unwrap();
            store.migrate().await.unwrap();
            let queue = Arc::new(MemoryQueue::new());
            let (scheduler, running) =
                Scheduler::start(Arc::clone(&store), queue, Arc::clone(&clock) as Arc<dyn Clock>, settings);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let channel = Channel::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let authenticator = Authenticator::Tokens(Arc::new(Tokens::new(Arc::clone(&store))));
            let serving = tokio::spawn(api::serve(listener, scheduler.clone(), authenticator, None, stop.clone()));
            (store, scheduler, running, serving, channel.connect_lazy())
        };
        let (store, scheduler, running, serving, channel) = runtime.block_on(started);
        let tenants = AtomicU32::new(0);
        Self { runtime, store, scheduler, clock, channel, running, serving, stop, tenants, _database: database }
    }

    /// The name of a tenant that nobody has used yet.
    pub(crate) fn new_tenant(&self) -> String {
        format!("tenant-{}", self.tenants.fetch_add(1, Ordering::Relaxed))
    }

    /// Stops in good order.
    pub(crate) fn stop(self) {
        drop(self.channel);
        drop(self.store);
        self.stop.cancel();
        self.runtime.block_on(async {
            self.serving.await.unwrap().unwrap();
            self.running.stop(self.scheduler).await;
        });
    }
}

impl Database {
    fn new(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Sqlite => Self::File(tempfile::tempdir().unwrap()),
            StoreKind::Postgres => {
                let name = format!("t{}", uuid::Uuid::now_v7().simple());
                sql(&format!("CREATE DATABASE {name}"));
                Self::Postgres(name)
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite:{}", folder.path().join("quorate.db").display()),
            Self::Postgres(name) => {
                let url = variable("QUORATE_TEST_DATABASE_URL");
                format!("{}/{name}", url.rsplit_once('/').unwrap().0)
            }
        }
    }

    fn is_shared(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Postgres(_) => true,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres(name) = self {
            sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests need servers, run scripts/test.sh"))
}

fn sql(statement: &str) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/services.sh");
    let dir = variable("QUORATE_TEST_SERVICES");
    let output = Command::new("bash").arg(script).args(["psql", "--dir", &dir, "-qAtc", statement]).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
}
