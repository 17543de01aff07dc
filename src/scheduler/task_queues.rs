//! Task queues as operators see them: what waits in them, and who serves them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use quorate_engine::{definition::FlowType, id::Tenant};
use quorate_store::{StoreError, store::TaskQueueLoad};

use super::{Scheduler, catalog::Snapshot};

/// How many task queues the broker is asked about at once: more than an installation has.
pub(super) const ASKED_MAX: usize = 500;

/// A task queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQueue {
    /// Its open jobs.
    pub load: TaskQueueLoad,
    /// How many consumers it has; none where that is not known at the moment.
    pub consumers: Option<u32>,
    /// The active flows whose jobs go there.
    pub flows: Vec<String>,
}

impl Scheduler {
    /// The task queues that active flows name or open jobs are in, by name, and the time at which they were looked at.
    pub async fn task_queues(&self, tenant: &Tenant) -> Result<(Timestamp, Vec<TaskQueue>), StoreError> {
        let now = self.clock().now();
        let snapshot = self.catalog().current(tenant).await?;
        let mut flows = flows_by_task_queue(&snapshot);
        let mut loads: BTreeMap<String, TaskQueueLoad> =
            self.store().task_queues(tenant, now).await?.into_iter().map(|load| (load.name.clone(), load)).collect();
        for name in flows.keys() {
            loads.entry(name.clone()).or_insert_with(|| TaskQueueLoad {
                name: name.clone(),
                waiting: 0,
                oldest_since: None,
                running: 0,
                later: 0,
            });
        }
        let names: Vec<String> = loads.keys().take(ASKED_MAX).cloned().collect();
        let consumers = self.consumers(&names).await;
        let queues = loads.into_iter().map(|(name, load)| {
            let flows = flows.remove(&name).unwrap_or_default();
            TaskQueue { consumers: consumers.get(&load.name).copied(), load, flows }
        });
        Ok((now, queues.collect()))
    }

    /// The task queues of active flows that nobody serves at the moment, as far as is known.
    pub async fn unserved(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let names: Vec<String> = flows_by_task_queue(snapshot).into_keys().take(ASKED_MAX).collect();
        let consumers = self.consumers(&names).await;
        consumers.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Consumers of those task queues of which it is known.
    async fn consumers(&self, names: &[String]) -> BTreeMap<String, u32> {
        let served = self.queue().served(names).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "it is not known who serves the task queues");
            Vec::new()
        });
        names.iter().zip(served).filter_map(|(name, served)| Some((name.clone(), served?.consumers))).collect()
    }
}

/// The active flows that have jobs, by their task queues.
fn flows_by_task_queue(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
    let mut by_task_queue: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in snapshot.flows.active.keys() {
        if let Some((_, flow)) = snapshot.flows.active(name)
            && flow.flow_type != FlowType::Screen
        {
            by_task_queue.entry(flow.task_queue.clone()).or_default().push(name.clone());
        }
    }
    by_task_queue
}
