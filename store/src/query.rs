//! What can be listed. Pages are keyset pages: each page says after which key the next begins.

use std::collections::BTreeSet;

use jiff::Timestamp;
use quorate_engine::{
    id::{JobId, SubmissionId, Tenant, WorkItemId},
    projection::{DecisionRow, SubmissionRow, WorkItemRow},
    state::Assignee,
    status::{JobStatus, SubmissionStatus, WorkItemStatus},
};

/// The most rows that a page may hold.
pub const PAGE_SIZE_MAX: u32 = 500;

/// The bound of a page as the stores take it: one row more than a page may be asked for, so that a caller can see whether there
/// is a next page.
pub(crate) fn page_rows(limit: u32) -> i64 {
    i64::from(limit.min(PAGE_SIZE_MAX + 1))
}

/// Which submissions, in the order of their time of submission and then their id.
#[derive(Clone, Debug)]
pub struct SubmissionQuery {
    /// Whose.
    pub tenant: Tenant,
    /// Of this process.
    pub process: Option<String>,
    /// In this status.
    pub status: Option<SubmissionStatus>,
    /// By this submitter.
    pub submitter: Option<String>,
    /// Of records of this type.
    pub record_type: Option<String>,
    /// Of the record with this id.
    pub record_id: Option<String>,
    /// Newest first.
    pub descending: bool,
    /// Where the page before ended.
    pub after: Option<(Timestamp, SubmissionId)>,
    /// How many rows at most.
    pub limit: u32,
}

/// Which work items, oldest first: in the order of their time of assignment and then their id.
#[derive(Clone, Debug)]
pub struct WorkItemQuery {
    /// Whose.
    pub tenant: Tenant,
    /// Of one of these assignees: an inbox asks for a user, their groups and their queues, and those for whom they act.
    pub assignees: Option<Vec<AssigneeScope>>,
    /// In this status.
    pub status: Option<WorkItemStatus>,
    /// Of this process.
    pub process: Option<String>,
    /// Of this submission.
    pub submission: Option<SubmissionId>,
    /// Where the page before ended.
    pub after: Option<(Timestamp, WorkItemId)>,
    /// How many rows at most.
    pub limit: u32,
}

/// The work items of an assignee, or those of one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssigneeScope {
    /// Whom the items ask.
    pub assignee: Assignee,
    /// Of this process only.
    pub process: Option<String>,
}

impl From<Assignee> for AssigneeScope {
    fn from(assignee: Assignee) -> Self {
        Self { assignee, process: None }
    }
}

impl WorkItemQuery {
    /// The assignees, so that no item is in two of them: an item of an assignee who is named twice is to be listed once.
    pub(crate) fn distinct_assignees(&self) -> Option<BTreeSet<&AssigneeScope>> {
        let scopes: BTreeSet<&AssigneeScope> = self.assignees.as_ref()?.iter().collect();
        let whole: BTreeSet<&Assignee> =
            scopes.iter().filter(|scope| scope.process.is_none()).map(|scope| &scope.assignee).collect();
        let within = |scope: &&AssigneeScope| scope.process.is_some() && whole.contains(&scope.assignee);
        Some(scopes.into_iter().filter(|scope| !within(scope)).collect())
    }
}

/// A work item and what a reviewer wants to see of its submission.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkItemEntry {
    /// The work item.
    pub item: WorkItemRow,
    /// What was decided on it.
    pub decision: Option<DecisionRow>,
    /// Its submission.
    pub submission: SubmissionRow,
}

/// Which open jobs, in the order of their id.
#[derive(Clone, Debug)]
pub struct JobQuery {
    /// Whose.
    pub tenant: Tenant,
    /// This one only.
    pub id: Option<JobId>,
    /// Of this submission.
    pub submission: Option<SubmissionId>,
    /// Of this task queue.
    pub task_queue: Option<String>,
    /// Of this flow.
    pub flow: Option<String>,
    /// In this status.
    pub status: Option<JobStatus>,
    /// Where the page before ended.
    pub after: Option<JobId>,
    /// How many rows at most.
    pub limit: u32,
}
