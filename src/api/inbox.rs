//! The inbox: the open work items that somebody may decide, for themselves and for those for whom they act.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use quorate_engine::{
    decide::{Deciding, Right, authorize_decision},
    definition::Process,
    directory::Directory,
    evolve,
    id::{SubmissionId, WorkItemId},
    state::{Assignee, Submission},
    status::WorkItemStatus,
};
use quorate_store::{
    StoreError,
    log::StoredEvent,
    query::{AssigneeScope, WorkItemEntry, WorkItemQuery},
    store::Wanted,
};
use tonic::Status;
use uuid::Uuid;

use crate::{auth::Principal, proto::v1};

use super::{Api, convert, errors, pages};

/// How many delegations to one person an inbox looks at, the first by name: each adds the groups and queues of its giver to the
/// query. What is lent by more can still be decided.
const DELEGATIONS_MAX: usize = 100;

/// How many processes of one delegation are asked for one by one. Of one that names more, what it does not lend is read and left
/// out.
const PROCESSES_MAX: usize = 10;

/// How many assignees, each of one process or of all, an inbox asks for before it looks at no further delegation: each is a look
/// into an index.
const SCOPES_MAX: usize = 1_000;

/// How often more rows are read because those that were read turned out not to be the caller's to decide.
const READS_MAX: usize = 4;

/// How many submissions are looked at for one page, to see whether the caller may decide for somebody: each is loaded whole.
const SUBMISSIONS_MAX: usize = 500;

/// Whose items an inbox holds.
struct Inbox {
    /// What asks the caller themselves, their groups and their queues.
    own: BTreeSet<Assignee>,
    /// All of that, and what asks those for whom they act.
    scopes: Vec<AssigneeScope>,
}

impl Inbox {
    fn of(name: &str, directory: &Directory, now: Timestamp) -> Self {
        let own = assignees(name, directory);
        let mut scopes: Vec<AssigneeScope> = own.iter().cloned().map(Into::into).collect();
        for delegation in directory.delegations_to(name, now).take(DELEGATIONS_MAX) {
            let lent = assignees(&delegation.from, directory).into_iter().filter(|assignee| !own.contains(assignee));
            for assignee in lent {
                let processes = &delegation.processes;
                if processes.is_empty() || processes.len() > PROCESSES_MAX {
                    scopes.push(assignee.into());
                } else {
                    let of =
                        |process: &String| AssigneeScope { assignee: assignee.clone(), process: Some(process.clone()) };
                    scopes.extend(processes.iter().map(of));
                }
            }
            if scopes.len() >= SCOPES_MAX {
                break;
            }
        }
        Self { own, scopes }
    }

    fn is_own(&self, entry: &WorkItemEntry) -> bool {
        let assignee = Assignee::from_parts(entry.item.assignee_kind, &entry.item.assignee);
        assignee.is_some_and(|assignee| self.own.contains(&assignee))
    }
}

/// Whom a work item may ask so that it asks this person: themselves, their groups and their queues.
fn assignees(name: &str, directory: &Directory) -> BTreeSet<Assignee> {
    let groups = directory.groups_of(name).into_iter().map(|group| Assignee::Group(group.to_owned()));
    let queues = directory.queues_of(name).into_iter().map(|queue| Assignee::Queue(queue.to_owned()));
    std::iter::once(Assignee::User(name.to_owned())).chain(groups).chain(queues).collect()
}

impl Api {
    /// A page of the caller's inbox. What they would decide for somebody else is looked at one by one, as a decision would be,
    /// and more is read in place of what they may not; within bounds, so that a page may be short and yet have a next one.
    pub(super) async fn inbox(
        &self,
        principal: &Principal,
        size: u32,
        page_token: &str,
    ) -> Result<v1::WorkItemServiceListResponse, Status> {
        let snapshot = self.directory(principal).await?;
        let now = self.scheduler.clock().now();
        let inbox = Inbox::of(principal.name.as_str(), &snapshot.directory, now);
        // An inbox is its owner's own query.
        let page = ["work_items", "", principal.name.as_str()];
        let after = pages::after::<(Timestamp, Uuid)>(page_token, &page)?;
        let mut query = WorkItemQuery {
            tenant: principal.tenant.clone(),
            assignees: Some(inbox.scopes.clone()),
            status: Some(WorkItemStatus::Assigned),
            process: None,
            submission: None,
            after: after.map(|(at, id)| (at, WorkItemId(id))),
            limit: size,
        };
        let mut work_items = Vec::new();
        let mut looked_at = 0;
        let mut more = true;
        for _ in 0..READS_MAX {
            let entries = self.scheduler.store().list_work_items(&query).await;
            let entries = entries.map_err(|error| errors::store(&error))?;
            more = entries.len() >= size as usize;
            let others: BTreeSet<SubmissionId> =
                entries.iter().filter(|entry| !inbox.is_own(entry)).map(|entry| entry.submission.id).collect();
            looked_at += others.len();
            let states = self.submissions_with_processes(principal, others).await?;
            for entry in entries {
                if work_items.len() >= size as usize {
                    more = true;
                    break;
                }
                query.after = Some((entry.item.assigned_at, entry.item.id));
                work_items.extend(if inbox.is_own(&entry) {
                    Some(convert::work_item_entry(entry))
                } else {
                    lent(entry, principal, &states, &snapshot.directory, now)
                });
            }
            if !more || work_items.len() >= size as usize || looked_at >= SUBMISSIONS_MAX {
                break;
            }
        }
        let rows = if more { size as usize } else { 0 };
        let next_page_token = pages::next(rows, size, query.after.map(|(at, id)| (at, id.0)), &page);
        Ok(v1::WorkItemServiceListResponse { work_items, next_page_token })
    }

    /// These submissions as they are, each with the process version that it is on.
    async fn submissions_with_processes(
        &self,
        principal: &Principal,
        ids: BTreeSet<SubmissionId>,
    ) -> Result<BTreeMap<SubmissionId, (Submission, Arc<Process>)>, Status> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let tenant = &principal.tenant;
        let submissions = ids.into_iter().map(|id| (tenant.clone(), id)).collect();
        let loaded = self.scheduler.store().load(&Wanted { submissions, ..Wanted::default() }).await;
        let mut found = BTreeMap::new();
        for history in loaded.map_err(|error| errors::store(&error))?.histories {
            let events: Result<Vec<_>, _> = history.events.iter().map(StoredEvent::to_event).collect();
            let events = events.map_err(|error| errors::store(&StoreError::Internal(error.to_string())))?;
            let Some(state) = evolve::replay(&events) else { continue };
            let process = self.scheduler.catalog().process(tenant, &state.process).await;
            if let Some(process) = process.map_err(|error| errors::store(&error))? {
                found.insert(history.submission, (state, process));
            }
        }
        Ok(found)
    }
}

/// An item that asks somebody else, with for whom the caller may decide it; `None` if they may not.
fn lent(
    entry: WorkItemEntry,
    principal: &Principal,
    states: &BTreeMap<SubmissionId, (Submission, Arc<Process>)>,
    directory: &Directory,
    now: Timestamp,
) -> Option<v1::WorkItem> {
    let (state, process) = states.get(&entry.submission.id)?;
    let (_, step, item) = state.work_item(entry.item.id)?;
    // It may have been decided since the page was read.
    if item.status != WorkItemStatus::Assigned {
        return None;
    }
    match authorize_decision(&Deciding { state, process, step, item: Some(item), directory, now }, &principal.name) {
        Ok(Right::Delegation { name, person }) => {
            let item = convert::work_item_entry(entry);
            Some(v1::WorkItem { on_behalf_of: person.0, delegation: name, ..item })
        }
        Ok(Right::Own | Right::Membership | Right::Override) | Err(_) => None,
    }
}
