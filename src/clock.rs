//! The clock and the source of ids, as arguments, so that a whole server can run on a virtual clock.

use jiff::Timestamp;
use quorate_engine::context::Ids;
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time, to the microsecond: what both stores keep.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// Ids in the order of time (`UUIDv7`), and secrets from the operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn uuid(&mut self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&mut self) -> u128 {
        rand::random()
    }

    fn fraction(&mut self) -> f64 {
        rand::random()
    }
}
