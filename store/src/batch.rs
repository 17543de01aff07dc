//! A batch as both stores write it: checked, and in the order in which rows are locked.

use jiff::{SignedDuration, Timestamp};
use quorate_engine::projection::SubmissionRow;

use crate::{
    StoreError,
    rows::write::Owner,
    store::{Batch, Heartbeat, RequestRow, SubmissionCommit},
};

/// A batch whose rows are in the order of their keys: two replicas that lock the same rows in one order cannot wait for each
/// other.
pub(crate) struct Checked<'a> {
    submissions: Vec<(&'a SubmissionCommit, &'a SubmissionRow)>,
    pub(crate) requests: Vec<&'a RequestRow>,
    /// The last sign of life of each attempt.
    pub(crate) heartbeats: Vec<&'a Heartbeat>,
    pub(crate) publish_grace: SignedDuration,
    pub(crate) now: Timestamp,
}

/// Puts a batch in order, and refuses one that would leave the log and the rows apart.
pub(crate) fn check(batch: &Batch) -> Result<Checked<'_>, StoreError> {
    let mut submissions = batch.submissions.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    submissions.sort_by_key(|(commit, _)| (&commit.tenant, commit.id));
    let mut requests: Vec<&RequestRow> = batch.requests.iter().collect();
    requests.sort_by_key(|request| &request.key);
    let mut heartbeats: Vec<&Heartbeat> = batch.heartbeats.iter().collect();
    heartbeats.sort_by_key(|beat| (&beat.tenant, beat.submission, beat.job, beat.attempt, beat.at));
    heartbeats.reverse();
    heartbeats.dedup_by_key(|beat| (&beat.tenant, beat.submission, beat.job, beat.attempt));
    Ok(Checked {
        submissions,
        requests,
        heartbeats,
        publish_grace: batch.publish_grace,
        now: batch.now.unwrap_or_else(Timestamp::now),
    })
}

fn checked(commit: &SubmissionCommit) -> Result<(&SubmissionCommit, &SubmissionRow), StoreError> {
    let fault = |what: &str| Err(StoreError::Internal(format!("the commit of submission {} {what}", commit.id)));
    let Some(row) = &commit.changes.submission else {
        return fault("has no row of the submission, which every event changes");
    };
    if row.tenant != commit.tenant || row.id != commit.id {
        return fault("has the row of another submission");
    }
    if row.version != commit.expected_version + commit.events.len() as u64 {
        return fault("has a version that is not the number of its events");
    }
    Ok((commit, row))
}

impl<'a> Checked<'a> {
    /// The submissions that are stored already, with the version each is expected to be at.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (u64, &'a SubmissionRow)> {
        self.submissions
            .iter()
            .filter(|(commit, _)| commit.expected_version > 0)
            .map(|(commit, row)| (commit.expected_version, *row))
    }

    /// The submissions that are new.
    pub(crate) fn made(&self) -> impl Iterator<Item = &'a SubmissionRow> {
        self.submissions.iter().filter(|(commit, _)| commit.expected_version == 0).map(|(_, row)| *row)
    }

    /// The submissions of whose events other systems are to be told.
    pub(crate) fn announced(&self) -> impl Iterator<Item = &'a SubmissionCommit> {
        self.submissions.iter().map(|(commit, _)| *commit).filter(|commit| commit.announce)
    }

    /// When the relay takes up what is to be published, unless it is published by then.
    pub(crate) fn relay_at(&self) -> Timestamp {
        self.now.checked_add(self.publish_grace).unwrap_or(Timestamp::MAX)
    }

    /// Rows of one kind of all submissions, each with its owner.
    pub(crate) fn rows<T: 'a>(
        &self,
        of: impl Fn(&'a SubmissionCommit) -> &'a Vec<T>,
    ) -> impl Iterator<Item = (Owner<'a>, &'a T)> {
        self.submissions.iter().flat_map(move |(commit, _)| {
            let owner = Owner { tenant: &commit.tenant, submission: commit.id };
            of(commit).iter().map(move |row| (owner, row))
        })
    }
}
