//! The whole system against real servers: the programs as they are built, on every backend, with processes killed.
//!
//! Needs the servers that `scripts/test.sh` starts. Each test has a database, names on the broker and ports of its own.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod audit;
mod backend;
mod caller;
mod definitions;
mod program;
#[path = "../queue_support/mod.rs"]
mod queue_support;
mod service;
mod system;
mod workers;

mod access;
mod approvals;
mod changes;
mod decisions;
mod delegations;
mod documents;
mod effects;
mod evaluations;
mod events_out;
mod example;
mod faults;
mod four_ways;
mod items;
mod jobs;
mod kills;
mod languages;
mod locks;
mod long_flows;
mod operations;
mod outages;
mod outgoing;
mod records;
mod refusals;
mod replicas;
mod requests;
mod results;
mod screens;
mod streams;
mod task_queues;
mod timers;
mod triggers;
mod troubles;
mod unreadable;
mod votes;
mod worker_kills;
mod workflows;

/// Makes each `async fn name(backend: Backend)` two tests, one on each backend.
macro_rules! on_every_backend {
    ($($(#[$meta:meta])* async fn $name:ident($backend:ident: Backend) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "the tests of a module do not use all of them")]
            use super::*;

            $(#[$meta])*
            async fn claim($backend: Backend) $body

            #[tokio::test]
            async fn on_sqlite_and_memory() {
                claim(Backend::sqlite_and_memory()).await;
            }

            #[tokio::test]
            async fn on_postgres_and_rabbitmq() {
                claim(Backend::postgres_and_rabbitmq().await).await;
            }
        }
    )*};
}
pub(crate) use on_every_backend;
