//! The workers of `examples/workers`, as processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use quorate::proto::v1::{JobServiceListRequest, JobStatus, OpenJob};

use crate::{
    caller::Caller,
    program::{Program, built, printed, quorate_worker},
    queue_support::Wire,
    system::System,
};

/// What stands in the declarative flows for the address of the ERP.
const ERP_OF_THE_EXAMPLE: &str = "http://127.0.0.1:7500";

/// What the flows of the purchase example are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Declarative,
    Rust,
    Python,
    TypeScript,
}

/// Where a worker gets its jobs from.
pub(crate) enum Source {
    Amqp {
        url: String,
        prefix: String,
    },
    /// With the variable that says who the worker is, and its value.
    Grpc {
        url: String,
        caller: (&'static str, String),
    },
}

impl Source {
    /// The broker where there is one.
    pub(crate) fn of(system: &System) -> Self {
        match &system.backend.broker {
            Some(broker) => Self::Amqp { url: broker.url.clone(), prefix: broker.prefix.clone() },
            None => Self::Grpc {
                url: format!("http://{}", system.server.address),
                caller: ("QUORATE_TOKEN", system.token("worker")),
            },
        }
    }

    /// The same, over a wire that can be cut.
    pub(crate) async fn over_a_wire(system: &System) -> (Self, Wire) {
        match Self::of(system) {
            Self::Amqp { prefix, .. } => {
                let wire = Wire::to_broker().await;
                (Self::Amqp { url: wire.url(), prefix }, wire)
            }
            Self::Grpc { caller, .. } => {
                let wire = Wire::to(system.server.address).await;
                (Self::Grpc { url: format!("http://{}", wire.address()), caller }, wire)
            }
        }
    }
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Declarative, Self::Rust, Self::Python, Self::TypeScript];

    /// A worker of the purchase example, which keeps its orders in this folder, when it serves. The one for declarative flows needs an
    /// [`Erp`] besides.
    pub(crate) async fn start(self, source: &Source, erp: &Path, variables: &[(&str, &str)]) -> Program {
        let (name, mut command) = match (self, source) {
            (Self::Declarative, _) => ("the stock worker", stock_worker()),
            (Self::Rust, _) => ("the worker in Rust", built("purchase-worker")),
            (Self::Python, Source::Amqp { .. }) => ("the worker in Python", python("amqp_worker.py")),
            (Self::Python, Source::Grpc { .. }) => ("the worker in Python", python("grpc_worker.py")),
            (Self::TypeScript, Source::Amqp { .. }) => ("the worker in TypeScript", typescript("amqp_worker.js")),
            (Self::TypeScript, Source::Grpc { .. }) => ("the worker in TypeScript", typescript("grpc_worker.js")),
        };
        match source {
            Source::Amqp { url, prefix } => {
                command.env("QUORATE_AMQP_URL", url).env("QUORATE_AMQP_PREFIX", prefix);
            }
            Source::Grpc { url, caller: (variable, value) } => {
                command.env("QUORATE_SERVER", url).env(variable, value);
            }
        }
        command.env("ERP_FOLDER", erp).envs(variables.iter().copied());
        let mut program = Program::start(name, command);
        program.said("that it serves", |line| self.serves(line).then_some(())).await;
        program
    }

    /// Whether a line says that the worker takes jobs.
    fn serves(self, line: &str) -> bool {
        match self {
            Self::Declarative | Self::Rust => {
                line.contains("connected to the broker") || line.contains("taking jobs from the server")
            }
            Self::Python | Self::TypeScript => line.contains("serving"),
        }
    }
}

/// The ERP that declarative flows call.
pub(crate) struct Erp {
    _program: Program,
    url: String,
}

impl Erp {
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut command = Command::new(installed().join("python/bin/python"));
        command.arg(project().join("examples/workers/declarative/erp.py"));
        command.env("ERP_FOLDER", folder).env("ERP_PORT", "0");
        let mut program = Program::start("the ERP", command);
        let url = program.said("where it is", |line| line.strip_prefix("the ERP is at ").map(str::to_owned)).await;
        Self { _program: program, url }
    }

    /// The declarative flows of the example, which call it.
    pub(crate) fn flows(&self) -> String {
        let text = include_str!("../../examples/workers/declarative/flows.yaml");
        assert!(text.contains(ERP_OF_THE_EXAMPLE));
        text.replace(ERP_OF_THE_EXAMPLE, &self.url)
    }
}

fn stock_worker() -> Command {
    let mut command = quorate_worker();
    command.args(["--task-queue", "default", "--task-queue", "erp", "--concurrency", "4"]);
    command.args(["--allow-network", "127.0.0.0/8"]);
    command
}

/// The job that a worker says it carries out.
pub(crate) async fn running(admin: &Caller) -> Option<OpenJob> {
    let jobs = admin.jobs().list(JobServiceListRequest::default()).await.unwrap().into_inner().jobs;
    jobs.into_iter().find(|job| job.status() == JobStatus::Running)
}

/// The orders that were made, by their jobs.
pub(crate) fn orders(erp: &Path) -> Vec<String> {
    let folder = fs::read_dir(erp.join("orders")).into_iter().flatten();
    folder.map(|order| order.unwrap().file_name().into_string().unwrap()).collect()
}

fn python(script: &str) -> Command {
    let mut command = Command::new(installed().join("python/bin/python"));
    command.arg(project().join("examples/workers/python").join(script));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command
}

fn typescript(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(installed().join("typescript/dist").join(script));
    command
}

/// What the workers need, installed and compiled.
fn installed() -> PathBuf {
    printed(Command::new("bash").arg(project().join("scripts/install-workers.sh")));
    project().join("target/workers")
}

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Makes each `async fn name(way: Way, backend: Backend)` a test for each language over AMQP and over gRPC, and each
/// `async fn name(way: Way)` a test for each language.
macro_rules! in_every_language {
    () => {};
    (async fn $name:ident($way:ident: Way, $backend:ident: Backend) $body:block $($rest:tt)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the tests of a module do not use all of them")]
            use super::*;

            async fn claim($way: Way, $backend: Backend) $body

            #[tokio::test]
            async fn in_python_over_grpc() {
                claim(Way::Python, Backend::sqlite_and_memory()).await;
            }

            #[tokio::test]
            async fn in_python_over_amqp() {
                claim(Way::Python, Backend::postgres_and_rabbitmq().await).await;
            }

            #[tokio::test]
            async fn in_typescript_over_grpc() {
                claim(Way::TypeScript, Backend::sqlite_and_memory()).await;
            }

            #[tokio::test]
            async fn in_typescript_over_amqp() {
                claim(Way::TypeScript, Backend::postgres_and_rabbitmq().await).await;
            }
        }
        in_every_language! { $($rest)* }
    };
    (async fn $name:ident($way:ident: Way) $body:block $($rest:tt)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the tests of a module do not use all of them")]
            use super::*;

            async fn claim($way: Way) $body

            #[tokio::test]
            async fn in_python() {
                claim(Way::Python).await;
            }

            #[tokio::test]
            async fn in_typescript() {
                claim(Way::TypeScript).await;
            }
        }
        in_every_language! { $($rest)* }
    };
}
pub(crate) use in_every_language;
