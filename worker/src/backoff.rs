//! Growing pauses between tries.

use std::time::Duration;

use rand::Rng;
use tokio::time;

/// The first pause: whatever failed is not well again within less.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// Each pause is twice the one before, up to this: what is back is found soon, and a thousand workers that knock in turn
/// do not hurt a broker that is starting.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Growing pauses, each shortened by chance so that workers do not knock in step.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: DELAY_MIN }
    }

    pub(crate) async fn pause(&mut self) {
        let share = rand::rng().random_range(0.5..=1.0);
        time::sleep(self.next.mul_f64(share)).await;
        self.next = (self.next * 2).min(DELAY_MAX);
    }
}
