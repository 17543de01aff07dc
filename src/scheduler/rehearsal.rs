//! Rehearsals: what would be decided, with nothing stored.

use std::sync::Arc;

use quorate_engine::{
    command::{Actor, Command},
    context::Context,
    decide::{Decided, Opening, Screen, decide, open_screen},
    definition::Process,
    id::{Tenant, WorkItemId},
    state::Submission,
};

use crate::clock::RandomIds;

use super::{
    Rejection, Scheduler,
    catalog::Snapshot,
    lane::{live_flows, log_store_error},
};

impl Scheduler {
    /// What would follow from a command on a submission as it is stored now. Nothing is stored, and nobody is told.
    pub async fn rehearse(&self, tenant: &Tenant, state: &Submission, command: &Command) -> Result<Decided, Rejection> {
        let (snapshot, process) = self.surroundings(tenant, state).await?;
        let mut context = Context {
            now: self.clock().now(),
            process: &process,
            flows: &snapshot.flows,
            calendars: &snapshot.calendars,
            directory: &snapshot.directory,
            ids: &mut RandomIds,
        };
        Ok(decide(Some(state), command, &mut context)?)
    }

    /// What somebody is shown and asked on the screen of a work item, as the submission is stored now.
    pub async fn open_screen(
        &self,
        tenant: &Tenant,
        state: &Submission,
        work_item: WorkItemId,
        by: &Actor,
    ) -> Result<Screen, Rejection> {
        let (snapshot, process) = self.surroundings(tenant, state).await?;
        let (flows, directory) = (&snapshot.flows, &snapshot.directory);
        let opening = Opening { state, process: &process, flows, directory, now: self.clock().now() };
        Ok(open_screen(&opening, work_item, by)?)
    }

    /// What the rules look at besides a submission.
    async fn surroundings(
        &self,
        tenant: &Tenant,
        state: &Submission,
    ) -> Result<(Arc<Snapshot>, Arc<Process>), Rejection> {
        let catalog = self.catalog();
        let failed = |error| log_store_error(&error);
        let mut snapshot = catalog.current(tenant).await.map_err(failed)?;
        for flow in live_flows(state) {
            snapshot = catalog.with_flow(tenant, Arc::clone(&snapshot), flow).await.map_err(failed)?;
        }
        let Some(process) = catalog.process(tenant, &state.process).await.map_err(failed)? else {
            tracing::error!(process = state.process.name, version = state.process.version, "a process is not stored");
            return Err(Rejection::Internal);
        };
        Ok((snapshot, process))
    }
}
