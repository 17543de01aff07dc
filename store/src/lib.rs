//! What Quorate keeps: the event log, its projections, the outbox, and the catalog of definitions and people.
//!
//! One [`Store`] trait, two implementations ([`postgres`] and [`sqlite`]) that pass the same tests. Nothing here knows a rule:
//! the engine decides, the store holds.

pub mod catalog;
pub mod log;
pub mod query;
pub mod store;

pub use store::{Store, StoreError};
