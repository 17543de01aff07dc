//! Timers: what the passing of time brings to the lanes. All bounds of jobs are the server's timers, never the broker's
//! (DESIGN 6).

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use quorate_engine::{command::Command, refusal::Refusal};
use tokio_util::sync::CancellationToken;

use super::{Ask, Rejection, Request, Scheduler};

/// How many due jobs, due timers, or waiting submissions are taken at a time.
const DUE_MAX: u32 = 1_000;

/// For how long a due job or timer is left to the server that took it.
const DUE_CLAIM: SignedDuration = SignedDuration::from_secs(30);

/// How often a stage whose condition reads `now` is looked at: what the definition promises is "within a minute".
const WAKE_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// How many requests of a round are at the lanes at once.
const AT_ONCE_MAX: usize = 256;

/// How long answered calls are remembered: a client that still repeats a call after a day has lost it.
const REQUESTS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How many forgotten calls are deleted at a time.
const FORGET_MAX: u32 = 5_000;

/// How many ticks pass between two rounds of forgetting.
const FORGET_EVERY: u64 = 300;

/// Looks for what is due until it is stopped.
pub(super) async fn run(scheduler: Scheduler, stop: CancellationToken) {
    let tick = scheduler.shared.settings.tick;
    let mut ticks: u64 = 0;
    while stop.run_until_cancelled(tokio::time::sleep(tick)).await.is_some() {
        let now = scheduler.shared.clock.now();
        scheduler.fire_due().await;
        ticks += 1;
        if ticks.is_multiple_of(FORGET_EVERY)
            && let Some(before) = ago(now, REQUESTS_KEPT)
            && let Err(error) = scheduler.store().forget_requests(before, FORGET_MAX).await
        {
            tracing::warn!(%error, "old requests could not be forgotten");
        }
    }
}

impl Scheduler {
    /// Brings all that is due by the clock to the lanes, once, and waits for what follows: what each tick does. On a clock that
    /// only moves when it is told to, this is how its moves are felt at once.
    pub async fn fire_due(&self) {
        let requests = due(self, self.shared.clock.now()).await;
        stream::iter(requests)
            .for_each_concurrent(AT_ONCE_MAX, |request| async move { settle(self.ask_in_turn(request).await) })
            .await;
    }
}

async fn due(scheduler: &Scheduler, now: Timestamp) -> Vec<Request> {
    let store = scheduler.store();
    let mut requests = Vec::new();
    let claimed_until = now.checked_add(DUE_CLAIM).unwrap_or(Timestamp::MAX);
    match store.claim_due(now, claimed_until, DUE_MAX).await {
        Ok(jobs) => requests.extend(jobs.into_iter().map(|due| Request {
            tenant: due.key.tenant,
            submission: due.key.submission,
            ask: Ask::Command(Command::JobOverdue {
                job: due.key.job,
                attempt: due.key.attempt,
                heartbeat_at: due.heartbeat_at,
            }),
            key: None,
        })),
        Err(error) => tracing::warn!(%error, "the timers could not read the jobs that are due"),
    }
    // One look is enough for all that is due of a submission.
    let mut awake = BTreeSet::new();
    match store.claim_timers(now, claimed_until, DUE_MAX).await {
        Ok(timed) => awake.extend(timed),
        Err(error) => tracing::warn!(%error, "the timers that are due could not be read"),
    }
    if let Some(before) = ago(now, WAKE_INTERVAL) {
        match store.claim_waiting(now, before, DUE_MAX).await {
            Ok(waiting) => awake.extend(waiting),
            Err(error) => tracing::warn!(%error, "the timers could not read the submissions that wait for time"),
        }
    }
    requests.extend(awake.into_iter().map(|(tenant, submission)| Request {
        tenant,
        submission,
        ask: Ask::Command(Command::Wake),
        key: None,
    }));
    requests
}

fn settle(outcome: Result<super::Answer, Rejection>) {
    match outcome {
        // A result that came first is no news.
        Ok(_) | Err(Rejection::Refused(Refusal::AttemptNotLive { .. } | Refusal::JobNotFound)) => {}
        // It is due again when its claim has run out.
        Err(error) => tracing::warn!(%error, "a timer could not be carried out"),
    }
}

fn ago(now: Timestamp, duration: SignedDuration) -> Option<Timestamp> {
    now.checked_sub(duration).ok()
}
