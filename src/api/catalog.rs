//! How the catalog is changed: worked out on what is stored, stored only if nobody changed it meanwhile, and known by its
//! request when it comes again.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use prost::Message;
use quorate_engine::{
    definition::{Complaint, FlowType, Known, Named, Severity},
    directory::Directory,
};
use quorate_store::{
    StoreError,
    catalog::CatalogChange,
    log::Hash,
    store::{RequestKey, RequestRow},
};
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::{auth::Principal, proto::v1, scheduler::Rejection, scheduler::catalog::Snapshot};

use super::{Api, errors};

/// How often a change is worked out again because others were faster.
const CONFLICTS_MAX: u32 = 10;

/// How large a definition may be, in bytes.
pub(super) const DEFINITION_BYTES_MAX: usize = 256 * 1024;

/// What a change comes to: what to write (`None`: nothing), and the answer.
pub(super) struct Worked<T> {
    pub(super) change: Option<CatalogChange>,
    pub(super) answer: T,
}

impl Api {
    /// Changes the catalog: `work` says what to write on the snapshot it is given. A call that was answered before gets its first
    /// answer again.
    pub(super) async fn change_catalog<T, W, F>(
        &self,
        principal: &Principal,
        key: Option<(RequestKey, Hash)>,
        mut work: W,
    ) -> Result<T, Status>
    where
        T: Message + Default,
        W: FnMut(Arc<Snapshot>) -> F,
        F: Future<Output = Result<Worked<T>, Status>>,
    {
        let store = self.scheduler.store();
        for _ in 0..CONFLICTS_MAX {
            if let Some((key, digest)) = &key
                && let Some(row) = store.request(key).await.map_err(|error| errors::store(&error))?
            {
                return answer_again(&row, digest);
            }
            let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
            let snapshot = snapshot.map_err(|error| errors::store(&error))?;
            let Worked { change, answer } = work(Arc::clone(&snapshot)).await?;
            let mut change = match (change, &key) {
                (Some(change), _) => change,
                (None, None) => return Ok(answer),
                // Nothing is to be written but that the call was answered: its id is not free for another.
                (None, Some(_)) => CatalogChange::new(principal.tenant.clone(), snapshot.version),
            };
            change.request = key.as_ref().map(|(key, digest)| RequestRow {
                key: key.clone(),
                digest: *digest,
                submission: None,
                version: 0,
                answer: Some(answer.encode_to_vec()),
                at: self.scheduler.clock().now(),
            });
            match store.change_catalog(&change).await {
                Ok(_) => return Ok(answer),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(errors::store(&error)),
            }
        }
        Err(errors::catalog_busy())
    }
}

pub(super) fn answer_again<T: Message + Default>(row: &RequestRow, digest: &Hash) -> Result<T, Status> {
    let reused = || errors::rejected(Rejection::RequestReused);
    let answer = row.answer.as_deref().filter(|_| row.digest == *digest).ok_or_else(reused)?;
    T::decode(answer).map_err(|error| errors::store(&StoreError::Internal(error.to_string())))
}

/// What a definition may name: what is active, and who is there.
pub(super) struct KnownIn {
    pub(super) snapshot: Arc<Snapshot>,
    /// The task queues that are known to be served by nobody at the moment.
    pub(super) unserved: BTreeSet<String>,
}

impl Api {
    /// What is known, and who serves it.
    pub(super) async fn known_in(&self, snapshot: &Arc<Snapshot>) -> KnownIn {
        KnownIn { unserved: self.scheduler.unserved(snapshot).await, ..KnownIn::of(snapshot) }
    }
}

impl KnownIn {
    /// What is known, whoever serves it.
    pub(super) fn of(snapshot: &Arc<Snapshot>) -> Self {
        Self { snapshot: Arc::clone(snapshot), unserved: BTreeSet::new() }
    }

    fn directory(&self) -> &Directory {
        &self.snapshot.directory
    }
}

impl Known for KnownIn {
    fn flow(&self, name: &str) -> Option<FlowType> {
        self.snapshot.flows.active(name).map(|(_, flow)| flow.flow_type)
    }

    fn unserved_task_queue(&self, flow: &str) -> Option<String> {
        let (_, flow) = self.snapshot.flows.active(flow)?;
        self.unserved.contains(&flow.task_queue).then(|| flow.task_queue.clone())
    }

    fn has_user(&self, name: &str) -> bool {
        self.directory().users.contains_key(name)
    }

    fn has_group(&self, name: &str) -> bool {
        self.directory().groups.contains_key(name)
    }

    fn has_queue(&self, name: &str) -> bool {
        self.directory().queues.contains_key(name)
    }

    fn has_calendar(&self, name: &str) -> bool {
        self.snapshot.calendars.active.contains_key(name)
    }

    fn names(&self, of: Named) -> Vec<String> {
        match of {
            Named::Flow => self.snapshot.flows.active.keys().cloned().collect(),
            Named::User => self.directory().users.keys().cloned().collect(),
            Named::Group => self.directory().groups.keys().cloned().collect(),
            Named::Queue => self.directory().queues.keys().cloned().collect(),
            Named::Calendar => self.snapshot.calendars.active.keys().cloned().collect(),
        }
    }
}

/// A definition that may be read: bounded, and without the character that the store cannot keep.
pub(super) fn check_definition(text: &str) -> Result<(), Status> {
    super::call::check_text("definition", text, DEFINITION_BYTES_MAX)
}

/// The refusal of a definition, with every complaint.
pub(super) fn refuse(complaints: &[Complaint]) -> Status {
    errors::definition_invalid(fields(complaints))
}

/// The refusal of a process whose tests fail, with every test that does.
pub(super) fn refuse_untested(complaints: &[Complaint]) -> Status {
    errors::tests_failed(fields(complaints))
}

fn fields(complaints: &[Complaint]) -> impl Iterator<Item = (String, String)> {
    complaints.iter().map(|complaint| {
        let field = format!("{}:{} {}", complaint.line, complaint.column, complaint.path);
        (field.trim_end().to_owned(), complaint.message.clone())
    })
}

pub(super) fn complaint(complaint: Complaint) -> v1::Complaint {
    v1::Complaint {
        line: u32::try_from(complaint.line).unwrap_or(u32::MAX),
        column: u32::try_from(complaint.column).unwrap_or(u32::MAX),
        path: complaint.path,
        message: complaint.message,
        warning: complaint.severity == Severity::Warning,
    }
}

/// SHA-256 of a definition's text: the same text is the same version.
pub(super) fn digest(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}
