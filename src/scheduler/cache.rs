//! The bounded cache of a lane: the submissions it changed last.

use lru::LruCache;
use quorate_engine::{
    id::{SubmissionId, Tenant},
    projection::Projection,
    state::Submission,
};
use quorate_store::log::Hash;
use std::sync::Arc;

/// How much one lane may hold, by estimate, in bytes: a server with two lanes stays under 100 MiB with it.
const BYTES_MAX: usize = 24 * 1024 * 1024;

/// A submission as it was last stored.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) state: Arc<Submission>,
    pub(super) projection: Arc<Projection>,
    /// The hash of its last event.
    pub(super) head: Hash,
}

impl Entry {
    /// About how much memory it takes: rows and runs are counted, the record is measured.
    fn weight(&self) -> usize {
        let state = &self.state;
        let steps: usize = state.stage_runs.iter().map(|stage| stage.steps.len()).sum();
        let items: usize = self.projection.work_items.len();
        state.record.data.to_string().len() + 2 * 1024 + (state.stage_runs.len() + steps) * 1024 + items * 512
    }
}

/// Entries by submission, the least recently used leaves first.
pub(super) struct Cache {
    entries: LruCache<(Tenant, SubmissionId), (Entry, usize)>,
    bytes: usize,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0 }
    }

    pub(super) fn get(&mut self, key: &(Tenant, SubmissionId)) -> Option<Entry> {
        self.entries.get(key).map(|(entry, _)| entry.clone())
    }

    pub(super) fn contains(&self, key: &(Tenant, SubmissionId)) -> bool {
        self.entries.contains(key)
    }

    pub(super) fn put(&mut self, key: (Tenant, SubmissionId), entry: Entry) {
        let weight = entry.weight();
        self.bytes += weight;
        if let Some((_, before)) = self.entries.put(key, (entry, weight)) {
            self.bytes -= before;
        }
        while self.bytes > BYTES_MAX
            && let Some((_, (_, weight))) = self.entries.pop_lru()
        {
            self.bytes -= weight;
        }
    }

    pub(super) fn remove(&mut self, key: &(Tenant, SubmissionId)) {
        if let Some((_, weight)) = self.entries.pop(key) {
            self.bytes -= weight;
        }
    }
}
