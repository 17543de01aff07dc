//! The event log: each event's hash covers the one before, so that a changed history shows.

use jiff::Timestamp;
use quorate_engine::{
    Json,
    event::{Event, EventKind, UnreadableEvent},
    id::SubmissionId,
};
use sha2::{Digest, Sha256};

use crate::canonical::canonical_text;

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first event of a submission has for the hash before it.
pub const FIRST_PREVIOUS: Hash = [0; 32];

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its place in the submission's history, from 1.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Its body.
    pub body: Json,
    /// The hash of the event before; zeros for the first.
    pub previous_hash: Hash,
    /// SHA-256 over the submission's id, `seq`, `at`, `kind`, `body` and `previous_hash`.
    pub hash: Hash,
}

impl StoredEvent {
    /// The engine's event.
    pub fn to_event(&self) -> Result<Event, UnreadableEvent> {
        Ok(Event { at: self.at, kind: EventKind::from_parts(&self.kind, &self.body)? })
    }
}

/// Makes the next entries of a submission's log. `version` is the number of events before, `head` the last one's hash.
pub fn seal(submission: SubmissionId, version: u64, head: Hash, events: &[Event]) -> Vec<StoredEvent> {
    let mut previous_hash = head;
    (version + 1..)
        .zip(events)
        .map(|(seq, event)| {
            let (kind, body) = event.kind.to_parts();
            let hash = hash(submission, seq, event.at, &kind, &body, &previous_hash);
            let stored = StoredEvent { seq, at: event.at, kind, body, previous_hash, hash };
            previous_hash = hash;
            stored
        })
        .collect()
}

/// Whether a whole history is as it was written; else the `seq` of the first event that is not.
pub fn verify(submission: SubmissionId, events: &[StoredEvent]) -> Result<(), u64> {
    let mut previous_hash = FIRST_PREVIOUS;
    for (seq, event) in (1..).zip(events) {
        let expected = hash(submission, event.seq, event.at, &event.kind, &event.body, &previous_hash);
        if event.seq != seq || event.previous_hash != previous_hash || event.hash != expected {
            return Err(seq);
        }
        previous_hash = event.hash;
    }
    Ok(())
}

fn hash(submission: SubmissionId, seq: u64, at: Timestamp, kind: &str, body: &Json, previous: &Hash) -> Hash {
    let body = canonical_text(body);
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(submission.0.as_bytes());
    hasher.update(seq.to_be_bytes());
    hasher.update(at.as_microsecond().to_be_bytes());
    hasher.update((kind.len() as u64).to_be_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(body.as_bytes());
    hasher.finalize().into()
}
