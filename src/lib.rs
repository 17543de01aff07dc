//! The Quorate server: the API, the lanes that carry every change, and the queue to the workers.
//!
//! `ARCHITECTURE.md` has the picture, the code map and the invariants.

pub mod proto;
pub mod queue;
