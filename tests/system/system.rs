//! A system under test: a database, a queue, servers and workers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use quorate_store::Store;
use quorate_worker::{Worker, WorkerBuilder, workflow::Workflows};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    caller::Caller,
    definitions::{self, TASK_QUEUES},
    program::{Program, printed, quorate, quorate_worker},
    queue_support::{until, within},
};

/// What the callers of the tests may do, by their names; all others submit and review.
const ROLES: [(&str, &str); 3] = [("admin", "administrator"), ("worker", "worker"), ("auditor", "auditor")];

/// A system with one server and one worker.
pub(crate) struct System {
    pub(crate) backend: Backend,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) server: Server,
    worker: Option<RunningWorker>,
    tokens: Tokens,
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

/// A worker in the process of the test.
struct RunningWorker {
    stop: CancellationToken,
    task: JoinHandle<Result<(), quorate_worker::WorkerError>>,
}

/// The callers' tokens, made when they first call.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<BTreeMap<String, String>>,
}

impl System {
    /// A server, a worker that takes jobs, and the definitions of the tests.
    pub(crate) async fn start(backend: Backend) -> Self {
        let mut system = Self::start_without_worker(backend).await;
        system.start_own_worker();
        let admin = system.caller("admin");
        until("the worker to serve", || async {
            for name in TASK_QUEUES {
                if admin.task_queue(name).await.consumers == Some(0) {
                    return None;
                }
            }
            Some(())
        })
        .await;
        system
    }

    pub(crate) async fn start_without_worker(backend: Backend) -> Self {
        printed(quorate().args(["migrate", "--database-url", &backend.database_url]));
        let tokens = Tokens::default();
        tokens.of(&backend, "admin");
        let mut server = Server::start(&backend, &[]).await;
        if backend.broker.is_some() {
            server.is_connected_to_the_broker().await;
        }
        let store = quorate_store::open(&backend.database_url).await.unwrap();
        let system = Self { backend, store, server, worker: None, tokens };
        let admin = system.caller("admin");
        admin.apply_directory(definitions::DIRECTORY).await;
        admin.publish_flows(definitions::FLOWS).await;
        admin.publish_flows(definitions::EXAMPLE_FLOWS).await;
        admin.publish_process(&definitions::purchase_process()).await;
        for process in definitions::PROCESSES {
            admin.publish_process(process).await;
        }
        system
    }

    pub(crate) fn caller(&self, name: &str) -> Caller {
        self.caller_at(&self.server, name)
    }

    /// A caller of another server of the same system.
    pub(crate) fn caller_at(&self, server: &Server, name: &str) -> Caller {
        Caller::with_token(server.address, &self.token(name))
    }

    pub(crate) fn token(&self, name: &str) -> String {
        self.tokens.of(&self.backend, name)
    }

    /// A worker with the flows that `serve` gives it, over the broker where there is one.
    fn run_worker(&self, serve: impl Fn(WorkerBuilder) -> WorkerBuilder) -> RunningWorker {
        let builder = serve(Worker::builder().task_queues(TASK_QUEUES));
        let builder = match &self.backend.broker {
            Some(broker) => builder.url(&broker.url).prefix(&broker.prefix),
            None => builder.url(format!("http://{}", self.server.address)).token(Some(self.token("worker"))),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(builder.build().unwrap().run(stop.clone()));
        RunningWorker { stop, task }
    }

    pub(crate) fn start_own_worker(&mut self) {
        self.worker = Some(self.run_worker(definitions::serve));
    }

    /// A worker that serves declarative flows, and none by name.
    pub(crate) fn start_worker_that_runs(&mut self, workflows: &Workflows) {
        self.worker = Some(self.run_worker(|builder| builder.workflows(workflows.clone())));
    }

    /// A worker with the flows of a test.
    pub(crate) fn start_worker_that(&mut self, serves: impl Fn(WorkerBuilder) -> WorkerBuilder) {
        self.worker = Some(self.run_worker(serves));
    }

    pub(crate) async fn stop_worker(&mut self) {
        self.worker.take().unwrap().stop().await;
    }

    /// Another server in the place of the one that runs.
    pub(crate) async fn restart_server(&mut self, options: &[&str]) {
        let next = Server::start(&self.backend, options).await;
        let before = std::mem::replace(&mut self.server, next);
        assert!(before.program.stop().await.success());
    }

    /// Stops the server in good order; what it is replaced by is the test's business.
    pub(crate) async fn stop_server(&mut self) {
        let program = &mut self.server.program;
        program.signal("TERM");
        let status = until("the end of the server", || std::future::ready(program.ended())).await;
        assert!(status.success(), "the server ended with {status}");
    }

    /// Stops everything in good order.
    pub(crate) async fn end(mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
        let status = self.server.program.stop().await;
        assert!(status.success(), "the server ended with {status}");
        drop(self.store);
        self.backend.clean_up().await;
    }
}

impl Server {
    pub(crate) async fn start(backend: &Backend, options: &[&str]) -> Self {
        let mut program = Self::launch(backend, options);
        let address = program.said("the server's address", listening).await;
        Self { program, address }
    }

    /// Waits until all is declared on the broker: a server serves before that.
    async fn is_connected_to_the_broker(&mut self) {
        for connection in ["publish", "consume"] {
            let what = format!("the connection to {connection}");
            let connected =
                |line: &str| (line.contains("connected to the broker") && line.contains(connection)).then_some(());
            self.program.said(&what, connected).await;
        }
    }

    /// The process, whether it comes to serve or not.
    pub(crate) fn launch(backend: &Backend, options: &[&str]) -> Program {
        let mut command = quorate();
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &backend.database_url]).args(options);
        if let Some(broker) = &backend.broker {
            command.args(["--amqp-url", &broker.url, "--amqp-prefix", &broker.prefix]);
        }
        Program::start("the server", command)
    }
}

/// The address in the line that says that a server serves. Colors would stand between name and value.
fn listening(line: &str) -> Option<SocketAddr> {
    address_in(line, "serving", "listen=")
}

/// The address at the end of a line that says something.
pub(crate) fn address_in(line: &str, says: &str, name: &str) -> Option<SocketAddr> {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default();
    let plain: String =
        std::iter::once(first).chain(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))).collect();
    plain.contains(says).then(|| plain.rsplit_once(name)?.1.trim().parse().ok()).flatten()
}

impl RunningWorker {
    async fn stop(self) {
        self.stop.cancel();
        within("the worker's end", self.task).await.unwrap().unwrap();
    }
}

impl Tokens {
    pub(crate) fn of(&self, backend: &Backend, name: &str) -> String {
        let mut known = self.known.lock().unwrap();
        let create = || {
            let role = ROLES.iter().find(|(known, _)| *known == name).map(|(_, role)| *role);
            create_token(backend, name, &role.map_or(vec!["submitter", "reviewer"], |role| vec![role]))
        };
        known.entry(name.to_owned()).or_insert_with(create).clone()
    }
}

pub(crate) fn create_token(backend: &Backend, user: &str, roles: &[&str]) -> String {
    let mut command = quorate();
    command.args(["token", "create", "--database-url", &backend.database_url, "--user", user]);
    command.args(roles.iter().flat_map(|role| ["--role", role]));
    printed(&mut command).trim().to_owned()
}

/// The stock worker of a backend with a broker, as a process.
pub(crate) fn start_worker(backend: &Backend, default: &str) -> Program {
    let broker = backend.broker();
    let mut command = quorate_worker();
    command.args(["--amqp-url", &broker.url, "--amqp-prefix", &broker.prefix, "--default", default]);
    command.args(TASK_QUEUES.iter().flat_map(|name| ["--task-queue", name]));
    Program::start("the worker", command)
}
