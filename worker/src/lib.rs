//! Serve Quorate flows in Rust.
//!
//! A [`Worker`] takes jobs, over AMQP or over gRPC, carries them out with the handlers it was given, and reports what
//! became of them. A job runs at least once: [`JobContext::job`] and [`JobContext::attempt`] make effects idempotent.
//!
//! ```no_run
//! use quorate_worker::{FlowError, JobContext, Worker};
//! use serde::{Deserialize, Serialize};
//! use tokio_util::sync::CancellationToken;
//!
//! #[derive(Deserialize)]
//! struct Input {
//!     amount: f64,
//! }
//!
//! #[derive(Serialize)]
//! struct Output {
//!     ok: bool,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder()
//!     .url("amqp://localhost:5672/%2f")
//!     .task_queue("default")
//!     .concurrency(16)
//!     .flow("check-budget", |_job: JobContext, input: Input| async move {
//!         if input.amount < 0.0 {
//!             return Err(FlowError::permanent("NEGATIVE_AMOUNT", "an amount is at least 0"));
//!         }
//!         Ok(Output { ok: input.amount < 10_000.0 })
//!     })
//!     .build()?;
//! worker.run(CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/workers.md` has the contract between server and worker, for workers in any language.

mod attempt;
mod backoff;
mod builder;
pub mod builtin;
mod context;
mod effects;
mod flow;
mod json;
mod layer;
mod ledger;
mod limits;
mod places;
pub mod testing;
mod transport;
mod worker;
pub mod workflow;

pub use builder::{InvalidWorker, WorkerBuilder};
pub use context::JobContext;
pub use effects::EmittedEvent;
pub use flow::FlowError;
pub use layer::Next;
pub use limits::{InvalidRate, Rate};
pub use worker::{Worker, WorkerError};

/// `quorate.v1`, as generated: what this crate speaks, and for tests that play the server.
#[doc(hidden)]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod proto {
    tonic::include_proto!("quorate.v1");
}

/// The bound of a job's or a report's JSON, in bytes (DESIGN 6).
const BODY_BYTES_MAX: usize = 256 * 1024;
