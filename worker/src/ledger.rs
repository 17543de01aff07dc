//! What this worker holds: so that a job that comes again while it runs does not run twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{proto::Job, transport::Hold};

/// A job comes again after each lost connection. More copies than this are not kept: they go back, and come again.
const HOLDS_PER_JOB_MAX: usize = 8;

/// The attempts that run here, or whose result is still to be sent.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

/// The token is what makes an attempt: a job of the same number with another token is another attempt.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    job: String,
    attempt: u32,
    token: String,
}

impl Key {
    fn of(job: &Job) -> Self {
        Self { job: job.job.clone(), attempt: job.attempt, token: job.token.clone() }
    }
}

/// What became of a delivery.
pub(crate) enum Entered {
    /// It is the first of this attempt, which has to be carried out.
    New(Arc<Entry>),
    /// The attempt is under way here, and has taken the delivery over.
    TakenOver,
    /// The attempt is under way here, and lives by heartbeats: this delivery is not needed.
    NotNeeded(Hold),
}

impl Ledger {
    pub(crate) fn enter(&self, job: &Job, hold: Hold) -> Entered {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get(&Key::of(job)) else {
            let entry = Arc::new(Entry { state: Mutex::new(State { holds: vec![hold], settled: false }) });
            entries.insert(Key::of(job), entry.clone());
            return Entered::New(entry);
        };
        let mut state = entry.lock();
        if state.settled {
            return Entered::NotNeeded(hold);
        }
        // What came over a connection that was lost cannot be settled any more.
        state.holds.retain(Hold::is_live);
        if state.holds.len() < HOLDS_PER_JOB_MAX {
            state.holds.push(hold);
        }
        Entered::TakenOver
    }

    /// Forgets an attempt, and answers with its deliveries that are still to be settled.
    pub(crate) fn leave(&self, job: &Job) -> Vec<Hold> {
        let entry = self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&Key::of(job));
        entry.map(|entry| std::mem::take(&mut entry.lock().holds)).unwrap_or_default()
    }
}

/// The deliveries of one attempt.
pub(crate) struct Entry {
    state: Mutex<State>,
}

struct State {
    holds: Vec<Hold>,
    settled: bool,
}

impl Entry {
    /// The attempt goes on without its deliveries: answers with them, to be acknowledged.
    pub(crate) fn settle_early(&self) -> Vec<Hold> {
        let mut state = self.lock();
        state.settled = true;
        std::mem::take(&mut state.holds)
    }

    /// Whether there are deliveries that a broker waits for. A place on a stream may be held for as long as it takes.
    pub(crate) fn has_deliveries(&self) -> bool {
        self.lock().holds.iter().any(Hold::is_delivery)
    }

    /// Whether its deliveries were acknowledged while it ran.
    pub(crate) fn is_settled(&self) -> bool {
        self.lock().settled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
