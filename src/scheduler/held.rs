//! Trying again what could not be stored just now, while its delivery is held. A delivery that is handed back is counted: a quorum queue of
//! `RabbitMQ` 4 moves it to the dead letters after 20 times, and so would everything that comes in while the store is away.

use std::time::Duration;

use rand::Rng;
use tokio_util::sync::CancellationToken;

/// The first pause: a store that was only busy, or another server that was faster.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Each pause is twice the one before, up to this: what is held is done soon after the store is back.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pauses between the tries of one delivery.
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: PAUSE_MIN }
    }

    /// Waits before the next try. Whether there is to be one: else the server stops, and another has to do it.
    pub(super) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        // Shortened by chance, so that all that is held does not come in one moment.
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(PAUSE_MAX);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}
