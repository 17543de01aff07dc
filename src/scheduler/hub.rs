//! The hub: where calls wait for a submission to change, whichever server changes it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate_engine::id::{SubmissionId, Tenant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Answer, Scheduler};

/// How often the store is asked for the versions of all submissions that somebody waits for: what another server changed is
/// seen this much later at most.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How many submissions one such query asks for.
const POLL_MAX: usize = 1_000;

type Key = (Tenant, SubmissionId);

/// The newest version of a submission that is known, and the submission itself where this server made it.
#[derive(Clone, Default)]
struct Seen {
    version: u64,
    state: Option<Answer>,
}

type Channels = BTreeMap<Key, watch::Sender<Seen>>;

/// Who waits for what.
#[derive(Clone, Default)]
pub struct Hub {
    channels: Arc<Mutex<Channels>>,
}

/// Somebody's wait for one submission.
pub struct Subscription {
    hub: Hub,
    key: Key,
    receiver: watch::Receiver<Seen>,
}

impl Hub {
    /// Waits for changes of a submission from now on.
    pub fn subscribe(&self, tenant: &Tenant, submission: SubmissionId) -> Subscription {
        let key = (tenant.clone(), submission);
        let receiver =
            self.lock().entry(key.clone()).or_insert_with(|| watch::Sender::new(Seen::default())).subscribe();
        Subscription { hub: self.clone(), key, receiver }
    }

    /// Tells those who wait that this server has stored a submission.
    pub(super) fn stored(&self, tenant: &Tenant, state: &Answer) {
        self.tell(tenant, state.id, || Seen { version: state.version, state: Some(Arc::clone(state)) });
    }

    /// Tells those who wait that a submission is at this version, whoever stored it.
    fn is_at(&self, tenant: &Tenant, submission: SubmissionId, version: u64) {
        self.tell(tenant, submission, || Seen { version, state: None });
    }

    fn tell(&self, tenant: &Tenant, submission: SubmissionId, news: impl FnOnce() -> Seen) {
        if let Some(channel) = self.lock().get(&(tenant.clone(), submission)) {
            let news = news();
            channel.send_if_modified(|seen| {
                let newer = news.version > seen.version;
                if newer {
                    *seen = news;
                }
                newer
            });
        }
    }

    fn waited_for(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        // A panic while the lock was held leaves the map whole: every change is one call.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits until the submission is known to be beyond `version`. Answers with it where this server stored that; where another
    /// one did, the store has to be asked.
    pub async fn beyond(&mut self, version: u64) -> Option<Answer> {
        // The sender lives in the hub for as long as this subscription does, so the wait cannot fail.
        let seen = self.receiver.wait_for(|seen| seen.version > version).await.ok()?;
        seen.state.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.hub.lock();
        // One receiver is this one's own.
        if channels.get(&self.key).is_some_and(|channel| channel.receiver_count() <= 1) {
            channels.remove(&self.key);
        }
    }
}

/// Asks the store what other servers have changed of what is waited for here.
pub(super) async fn poll(scheduler: Scheduler, stop: CancellationToken) {
    let hub = scheduler.hub().clone();
    while stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await.is_some() {
        if !scheduler.shared.settings.shared_store {
            continue;
        }
        for keys in hub.waited_for().chunks(POLL_MAX) {
            match scheduler.store().versions(keys).await {
                Ok(versions) => {
                    let versions: BTreeMap<_, _> = versions.into_iter().collect();
                    for (tenant, submission) in keys {
                        if let Some(version) = versions.get(submission) {
                            hub.is_at(tenant, *submission, *version);
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "could not ask for versions"),
            }
        }
    }
}
