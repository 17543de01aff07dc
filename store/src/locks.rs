//! Locks of records: who holds one, and those that are set by hand.

use jiff::Timestamp;
use quorate_engine::{
    id::{SubmissionId, Tenant},
    projection::RecordLockRow,
};

use crate::store::RequestRow;

/// A lock that a step of a submission holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The submission.
    pub submission: SubmissionId,
    /// The lock.
    pub lock: RecordLockRow,
}

/// A lock that was set by hand. A record has one of each holder at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualLockRow {
    /// The record's type.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// For whom or what it is locked: a name of the caller's own.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// Who has set it.
    pub locked_by: String,
    /// When.
    pub locked_at: Timestamp,
    /// From when on it counts no more; `None`: until it is taken off.
    pub until: Option<Timestamp>,
}

/// A change of the locks that are set by hand.
#[derive(Clone, Debug)]
pub struct ManualLockChange {
    /// Whose.
    pub tenant: Tenant,
    /// The lock of this record and this holder: as it is from now on where it is `put`, else it is taken off.
    pub lock: ManualLockRow,
    /// Whether it is put.
    pub put: bool,
    /// The call that this answers.
    pub request: Option<RequestRow>,
    /// The time now.
    pub now: Timestamp,
}
