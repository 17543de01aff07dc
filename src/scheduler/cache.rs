//! The bounded cache of a lane: the submissions it changed last.

use lru::LruCache;
use quorate_engine::{
    Json,
    id::{SubmissionId, Tenant},
    projection::Projection,
    state::{StepRun, Submission},
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
    /// About how much memory it takes: rows and runs are counted; the record, and what jobs are given and return, are measured.
    fn weight(&self) -> usize {
        let state = &self.state;
        let steps = || state.stage_runs.iter().flat_map(|stage| &stage.steps);
        let items: usize = self.projection.work_items.len();
        let data: usize = steps().map(data_of).sum();
        measure(&state.record.data) + data + 2 * 1024 + (state.stage_runs.len() + steps().count()) * 1024 + items * 512
    }
}

/// What jobs of a step were given, and what it returned. Both are shared with the rows or copied there; once is near enough.
fn data_of(step: &StepRun) -> usize {
    let evaluations = step.entry.iter().chain(&step.exit).map(|evaluation| &evaluation.job);
    let jobs = step.job.iter().chain(evaluations);
    step.outputs.as_deref().map_or(0, measure) + jobs.map(|job| measure(&job.spec.input)).sum::<usize>()
}

/// About the length of its text, without writing it: this is asked after every commit.
fn measure(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len() + 8,
        Json::Array(elements) => elements.iter().map(measure).sum::<usize>() + 8,
        Json::Object(fields) => fields.iter().map(|(name, value)| name.len() + 8 + measure(value)).sum::<usize>() + 8,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_long_as_text_is_heavy() {
        let long = "x".repeat(100_000);
        for heavy in [json!({ "a": [long] }), json!({ long.clone(): 1 }), json!(vec![1_000_000_000; 10_000])] {
            assert!((80_000..200_000).contains(&measure(&heavy)), "{}", measure(&heavy));
        }
        assert!(measure(&json!({})) < 50);
    }
}
