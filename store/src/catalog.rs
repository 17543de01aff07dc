//! The catalog: definitions and people. It changes seldom and is read by every replica into memory; its version, one number
//! a tenant, says when to read again.

use jiff::Timestamp;
use quorate_engine::{
    delegation::Delegation,
    directory::{Group, Queue, User},
    id::Tenant,
    status::VersionStatus,
};

use crate::log::Hash;
use crate::store::RequestRow;

/// A version of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessVersionRow {
    /// The process's name.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// How it stands.
    pub status: VersionStatus,
    /// For people.
    pub title: String,
    /// The type of record it takes.
    pub record_type: String,
    /// The text as it was published.
    pub definition: String,
    /// SHA-256 of the text.
    pub digest: Hash,
    /// Who published it.
    pub published_by: String,
    /// When.
    pub published_at: Timestamp,
}

/// A version of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowVersionRow {
    /// The flow's name.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// How it stands.
    pub status: VersionStatus,
    /// `autolaunched`, `screen` or `evaluation`.
    pub flow_type: String,
    /// Where its jobs go.
    pub task_queue: String,
    /// The text as it was published.
    pub definition: String,
    /// SHA-256 of the text.
    pub digest: Hash,
    /// Who published it.
    pub published_by: String,
    /// When.
    pub published_at: Timestamp,
}

/// A version of a calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarVersionRow {
    /// The calendar's name.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// How it stands.
    pub status: VersionStatus,
    /// For people.
    pub title: String,
    /// By its name in the IANA database.
    pub time_zone: String,
    /// The text as it was published.
    pub definition: String,
    /// SHA-256 of the text.
    pub digest: Hash,
    /// Who published it.
    pub published_by: String,
    /// When.
    pub published_at: Timestamp,
}

/// One transaction on the catalog of a tenant: all or nothing, and only if nobody changed it since `expected_version`.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogChange {
    /// Whose catalog.
    pub tenant: Tenant,
    /// The version that the change was worked out on; 0 before the first change. The version becomes one more.
    pub expected_version: u64,
    /// Inserted, or replaced (status) where name and version exist.
    pub processes: Vec<ProcessVersionRow>,
    /// Inserted, or replaced (status) where name and version exist.
    pub flows: Vec<FlowVersionRow>,
    /// Inserted, or replaced (status) where name and version exist.
    pub calendars: Vec<CalendarVersionRow>,
    /// Inserted or replaced by name.
    pub users: Vec<User>,
    /// Inserted or replaced by name.
    pub groups: Vec<Group>,
    /// Inserted or replaced by name.
    pub queues: Vec<Queue>,
    /// Inserted or replaced by name.
    pub delegations: Vec<Delegation>,
    /// Deleted by name.
    pub users_gone: Vec<String>,
    /// Deleted by name.
    pub groups_gone: Vec<String>,
    /// Deleted by name.
    pub queues_gone: Vec<String>,
    /// Deleted by name.
    pub delegations_gone: Vec<String>,
    /// What the call that asks for the change has to be known by.
    pub request: Option<RequestRow>,
}

impl CatalogChange {
    /// A change of nothing yet.
    pub fn new(tenant: Tenant, expected_version: u64) -> Self {
        Self {
            tenant,
            expected_version,
            processes: Vec::new(),
            flows: Vec::new(),
            calendars: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            queues: Vec::new(),
            delegations: Vec::new(),
            users_gone: Vec::new(),
            groups_gone: Vec::new(),
            queues_gone: Vec::new(),
            delegations_gone: Vec::new(),
            request: None,
        }
    }

    /// The versions of processes, the active ones last: one version of a name is active at a time, and the one that was has to
    /// step back first.
    pub(crate) fn processes_in_order(&self) -> Vec<&ProcessVersionRow> {
        let mut rows: Vec<_> = self.processes.iter().collect();
        rows.sort_by_key(|row| row.status == VersionStatus::Active);
        rows
    }

    /// The versions of flows, the active ones last, as those of processes.
    pub(crate) fn flows_in_order(&self) -> Vec<&FlowVersionRow> {
        let mut rows: Vec<_> = self.flows.iter().collect();
        rows.sort_by_key(|row| row.status == VersionStatus::Active);
        rows
    }

    /// The versions of calendars, the active ones last, as those of processes.
    pub(crate) fn calendars_in_order(&self) -> Vec<&CalendarVersionRow> {
        let mut rows: Vec<_> = self.calendars.iter().collect();
        rows.sort_by_key(|row| row.status == VersionStatus::Active);
        rows
    }
}

/// An API token, by the hash of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTokenRow {
    /// SHA-256 of the token's text.
    pub hash: Hash,
    /// A short public name to list and revoke it by.
    pub id: String,
    /// Whose calls it stands for.
    pub tenant: Tenant,
    /// The user or service.
    pub principal: String,
    /// What it may do: names of roles.
    pub roles: Vec<String>,
    /// For people.
    pub note: String,
    /// When it was made.
    pub created_at: Timestamp,
}
