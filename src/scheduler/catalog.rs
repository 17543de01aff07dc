//! The catalog in memory: who is there, which flows are active, and the definitions that submissions are on.
//!
//! A snapshot is immutable. Its version says whether it is still the one that is stored; lanes ask for that with every batch,
//! in the round trip that loads what they need anyway.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate_engine::{
    calendar::Calendar,
    context::{Calendars, Flows},
    definition::{Everything, Flow, Process, read_calendar, read_flow, read_process},
    directory::Directory,
    id::Tenant,
    state::VersionRef,
    status::VersionStatus,
};
use quorate_store::{
    Store, StoreError,
    catalog::{CalendarVersionRow, FlowVersionRow},
    query::PAGE_SIZE_MAX,
};

/// How many process versions are kept compiled: more than are under way at once in most installations.
const PROCESSES_MAX: usize = 512;

/// How many flow versions' workflows are kept, most of them empty: a workflow has at most 48 KiB.
const WORKFLOWS_MAX: usize = 512;

/// A tenant's people and definitions at one version of the catalog.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The catalog's version.
    pub version: u64,
    /// The people.
    pub directory: Directory,
    /// The flows: the active versions, and older ones that jobs under way are bound to.
    pub flows: Flows,
    /// The active version of each process.
    pub active_processes: BTreeMap<String, u32>,
    /// The active version of each process that takes records of a type, by the type.
    pub processes_by_record: BTreeMap<String, Vec<VersionRef>>,
    /// The calendars.
    pub calendars: Calendars,
}

impl Snapshot {
    /// The active versions of the processes that take records of this type.
    pub fn processes_of(&self, record_type: &str) -> &[VersionRef] {
        self.processes_by_record.get(record_type).map_or(&[], Vec::as_slice)
    }
}

/// The catalog of all tenants: cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
    memory: Arc<Mutex<Memory>>,
}

struct Memory {
    snapshots: BTreeMap<Tenant, Arc<Snapshot>>,
    workflows: lru::LruCache<(Tenant, VersionRef), Arc<str>>,
    processes: lru::LruCache<(Tenant, VersionRef), Arc<Process>>,
}

impl Catalog {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let bounded = |max: usize| max.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
        let processes = lru::LruCache::new(bounded(PROCESSES_MAX));
        let workflows = lru::LruCache::new(bounded(WORKFLOWS_MAX));
        let memory = Memory { snapshots: BTreeMap::new(), workflows, processes };
        Self { store, memory: Arc::new(Mutex::new(memory)) }
    }

    /// The snapshot as it is stored now.
    pub async fn current(&self, tenant: &Tenant) -> Result<Arc<Snapshot>, StoreError> {
        let version = self.store.catalog_version(tenant).await?;
        self.at_least(tenant, version).await
    }

    /// A snapshot of this version or a later one.
    pub(super) async fn at_least(&self, tenant: &Tenant, version: u64) -> Result<Arc<Snapshot>, StoreError> {
        if let Some(snapshot) = self.lock().snapshots.get(tenant)
            && snapshot.version >= version
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.read(tenant, version).await?);
        let mut memory = self.lock();
        let newest = memory.snapshots.entry(tenant.clone()).or_insert_with(|| Arc::clone(&snapshot));
        if newest.version < snapshot.version {
            *newest = Arc::clone(&snapshot);
        }
        Ok(Arc::clone(newest))
    }

    /// A compiled process version; `None` when there is none.
    pub async fn process(&self, tenant: &Tenant, version: &VersionRef) -> Result<Option<Arc<Process>>, StoreError> {
        let key = (tenant.clone(), version.clone());
        if let Some(process) = self.lock().processes.get(&key) {
            return Ok(Some(Arc::clone(process)));
        }
        let Some(row) = self.store.process_version(tenant, &version.name, Some(version.version)).await? else {
            return Ok(None);
        };
        let (mut process, _) = read_process(&row.definition, &Everything).map_err(|complaints| {
            let reason = complaints.first().map(ToString::to_string).unwrap_or_default();
            StoreError::Internal(format!("process `{}` version {}: {reason}", version.name, version.version))
        })?;
        // They were run when it was published, and nobody asks for them again.
        process.tests = Vec::new();
        let process = Arc::new(process);
        self.lock().processes.put(key, Arc::clone(&process));
        Ok(Some(process))
    }

    /// The workflow of a flow version as JSON, which its jobs bring along; empty where its definition holds none.
    pub(super) async fn workflow(&self, tenant: &Tenant, version: &VersionRef) -> Result<Arc<str>, StoreError> {
        let key = (tenant.clone(), version.clone());
        if let Some(workflow) = self.lock().workflows.get(&key) {
            return Ok(Arc::clone(workflow));
        }
        let rows = self.store.flow_versions(tenant, &version.name, version.version.checked_add(1), 1).await?;
        let row = rows.into_iter().find(|row| row.version == version.version);
        let workflow = match row {
            Some(row) if compile_flow(&row)?.is_declarative => {
                let document = quorate_workflow::document_in(&row.definition, "workflow").map_err(|complaint| {
                    StoreError::Internal(format!("flow `{}` version {}: {complaint}", row.name, row.version))
                })?;
                document.to_string()
            }
            Some(_) | None => String::new(),
        };
        let workflow: Arc<str> = workflow.into();
        self.lock().workflows.put(key, Arc::clone(&workflow));
        Ok(workflow)
    }

    /// The snapshot with a flow version that a job under way is bound to.
    pub(super) async fn with_flow(
        &self,
        tenant: &Tenant,
        snapshot: Arc<Snapshot>,
        version: &VersionRef,
    ) -> Result<Arc<Snapshot>, StoreError> {
        if snapshot.flows.versions.contains_key(version) {
            return Ok(snapshot);
        }
        let rows = self.store.flow_versions(tenant, &version.name, version.version.checked_add(1), 1).await?;
        let Some(row) = rows.into_iter().find(|row| row.version == version.version) else { return Ok(snapshot) };
        let mut flows = snapshot.flows.clone();
        flows.versions.insert(version.clone(), Arc::new(compile_flow(&row)?));
        let extended = Arc::new(Snapshot {
            version: snapshot.version,
            directory: snapshot.directory.clone(),
            flows,
            active_processes: snapshot.active_processes.clone(),
            processes_by_record: snapshot.processes_by_record.clone(),
            calendars: snapshot.calendars.clone(),
        });
        self.lock().snapshots.insert(tenant.clone(), Arc::clone(&extended));
        Ok(extended)
    }

    /// Reads everything. What is changed meanwhile gives a higher version, and so another reading.
    async fn read(&self, tenant: &Tenant, version: u64) -> Result<Snapshot, StoreError> {
        let directory = self.store.directory(tenant).await?;
        let mut flows = Flows::default();
        for row in self.store.active_flows(tenant).await? {
            let reference = VersionRef { name: row.name.clone(), version: row.version };
            flows.active.insert(row.name.clone(), row.version);
            flows.versions.insert(reference, Arc::new(compile_flow(&row)?));
        }
        let mut calendars = Calendars::default();
        for row in self.store.active_calendars(tenant).await? {
            calendars.active.insert(row.name.clone(), (row.version, Arc::new(compile_calendar(&row)?)));
        }
        let mut active_processes = BTreeMap::new();
        let mut processes_by_record: BTreeMap<String, Vec<VersionRef>> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list_processes(tenant, after.as_deref(), PAGE_SIZE_MAX).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for row in page.into_iter().filter(|row| row.status == VersionStatus::Active) {
                active_processes.insert(row.name.clone(), row.version);
                let version = VersionRef { name: row.name, version: row.version };
                processes_by_record.entry(row.record_type).or_default().push(version);
            }
        }
        tracing::debug!(catalog.version = version, users = directory.users.len(), "catalog read");
        Ok(Snapshot { version, directory, flows, active_processes, processes_by_record, calendars })
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic while the lock was held leaves the maps whole: every change is one call.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compile_calendar(row: &CalendarVersionRow) -> Result<Calendar, StoreError> {
    read_calendar(&row.definition).map_err(|complaints| {
        let reason = complaints.first().map(ToString::to_string).unwrap_or_default();
        StoreError::Internal(format!("calendar `{}` version {}: {reason}", row.name, row.version))
    })
}

fn compile_flow(row: &FlowVersionRow) -> Result<Flow, StoreError> {
    read_flow(&row.definition).map_err(|complaints| {
        let reason = complaints.first().map(ToString::to_string).unwrap_or_default();
        StoreError::Internal(format!("flow `{}` version {}: {reason}", row.name, row.version))
    })
}
