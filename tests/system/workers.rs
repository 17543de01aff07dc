//! The workers of `examples/workers`, as processes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    program::{Program, printed},
    queue_support::Wire,
    system::System,
};

/// A language that a worker is written in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Python,
    TypeScript,
}

/// Where a worker gets its jobs from.
pub(crate) enum Source {
    Amqp { url: String, prefix: String },
    Grpc { url: String, token: String },
}

impl Source {
    /// The broker where there is one.
    pub(crate) fn of(system: &System) -> Self {
        match &system.backend.broker {
            Some(broker) => Self::Amqp { url: broker.url.clone(), prefix: broker.prefix.clone() },
            None => Self::Grpc { url: format!("http://{}", system.server.address), token: system.token("worker") },
        }
    }

    /// The same, over a wire that can be cut.
    pub(crate) async fn over_a_wire(system: &System) -> (Self, Wire) {
        match Self::of(system) {
            Self::Amqp { prefix, .. } => {
                let wire = Wire::to_broker().await;
                (Self::Amqp { url: wire.url(), prefix }, wire)
            }
            Self::Grpc { token, .. } => {
                let wire = Wire::to(system.server.address).await;
                (Self::Grpc { url: format!("http://{}", wire.address()), token }, wire)
            }
        }
    }
}

impl Language {
    /// A worker of the purchase example, which keeps its orders in this folder, when it serves.
    pub(crate) async fn start(self, source: &Source, erp: &Path, variables: &[(&str, &str)]) -> Program {
        let (name, mut command) = match (self, source) {
            (Self::Python, Source::Amqp { .. }) => ("the worker in Python", python("amqp_worker.py")),
            (Self::Python, Source::Grpc { .. }) => ("the worker in Python", python("grpc_worker.py")),
            (Self::TypeScript, Source::Amqp { .. }) => ("the worker in TypeScript", typescript("amqp_worker.js")),
            (Self::TypeScript, Source::Grpc { .. }) => ("the worker in TypeScript", typescript("grpc_worker.js")),
        };
        match source {
            Source::Amqp { url, prefix } => {
                command.env("QUORATE_AMQP_URL", url).env("QUORATE_AMQP_PREFIX", prefix);
            }
            Source::Grpc { url, token } => {
                command.env("QUORATE_SERVER", url).env("QUORATE_TOKEN", token);
            }
        }
        command.env("ERP_FOLDER", erp).envs(variables.iter().copied());
        let mut program = Program::start(name, command);
        program.said("that it serves", |line| line.contains("serving").then_some(())).await;
        program
    }
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

/// Makes each `async fn name(language: Language, backend: Backend)` a test for each language over AMQP and over gRPC, and each
/// `async fn name(language: Language)` a test for each language.
macro_rules! in_every_language {
    () => {};
    (async fn $name:ident($language:ident: Language, $backend:ident: Backend) $body:block $($rest:tt)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the tests of a module do not use all of them")]
            use super::*;

            async fn claim($language: Language, $backend: Backend) $body

            #[tokio::test]
            async fn in_python_over_grpc() {
                claim(Language::Python, Backend::sqlite_and_memory()).await;
            }

            #[tokio::test]
            async fn in_python_over_amqp() {
                claim(Language::Python, Backend::postgres_and_rabbitmq().await).await;
            }

            #[tokio::test]
            async fn in_typescript_over_grpc() {
                claim(Language::TypeScript, Backend::sqlite_and_memory()).await;
            }

            #[tokio::test]
            async fn in_typescript_over_amqp() {
                claim(Language::TypeScript, Backend::postgres_and_rabbitmq().await).await;
            }
        }
        in_every_language! { $($rest)* }
    };
    (async fn $name:ident($language:ident: Language) $body:block $($rest:tt)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the tests of a module do not use all of them")]
            use super::*;

            async fn claim($language: Language) $body

            #[tokio::test]
            async fn in_python() {
                claim(Language::Python).await;
            }

            #[tokio::test]
            async fn in_typescript() {
                claim(Language::TypeScript).await;
            }
        }
        in_every_language! { $($rest)* }
    };
}
pub(crate) use in_every_language;
