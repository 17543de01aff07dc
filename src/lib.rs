//! The Quorate server: the API, the lanes that carry every change, and the queue to the workers.
//!
//! `ARCHITECTURE.md` has the picture, the code map and the invariants.

pub mod api;
pub mod auth;
pub mod clock;
mod metrics;
pub mod proto;
pub mod queue;
pub mod scheduler;
pub mod serve;

/// The one tenant of a server for now: every key of the store begins with it.
pub const TENANT: &str = "default";
