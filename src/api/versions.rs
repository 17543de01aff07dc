//! Versions: what publishing and activating a process, a flow and a calendar have in common.

use std::sync::Arc;

use quorate_engine::{id::Tenant, status::VersionStatus};
use quorate_store::{
    Store, StoreError,
    catalog::{CalendarVersionRow, CatalogChange, FlowVersionRow, ProcessVersionRow},
    log::Hash,
};
use tonic::Status;

use crate::{auth::Principal, scheduler::catalog::Snapshot};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text},
    errors,
};

/// A version of something that has versions, one of which is active.
#[tonic::async_trait]
pub(super) trait Version: Clone + Send + Sync + Sized {
    /// What it is a version of, for people.
    const KIND: &'static str;

    fn name(&self) -> &str;
    fn number(&self) -> u32;
    fn digest(&self) -> &Hash;
    fn status(&mut self) -> &mut VersionStatus;

    /// Has the change write it.
    fn put(self, change: &mut CatalogChange);

    /// The newest version below `before`.
    async fn newest(
        store: &Arc<dyn Store>,
        tenant: &Tenant,
        name: &str,
        before: Option<u32>,
    ) -> Result<Option<Self>, StoreError>;

    /// The number of the version that is active.
    fn active(snapshot: &Snapshot, name: &str) -> Option<u32>;
}

impl Api {
    /// A new version, which `make` makes of its number, or the newest one again where its text is the same; with what has to be
    /// written, if anything has.
    pub(super) async fn publish_version<V: Version>(
        &self,
        principal: &Principal,
        snapshot: &Snapshot,
        (name, digest, activate): (&str, &Hash, bool),
        make: impl FnOnce(u32) -> V + Send,
    ) -> Result<(Option<CatalogChange>, V), Status> {
        let newest = V::newest(self.scheduler.store(), &principal.tenant, name, None).await;
        let newest = newest.map_err(|error| errors::store(&error))?;
        let number = 1 + newest.as_ref().map_or(0, Version::number);
        let same = newest.filter(|version| version.digest() == digest);
        let is_new = same.is_none();
        let mut version = same.unwrap_or_else(|| make(number));
        if activate && *version.status() != VersionStatus::Active {
            let (change, version) = self.activate_version(principal, snapshot, version).await?;
            return Ok((Some(change), version));
        }
        let mut change = CatalogChange::new(principal.tenant.clone(), snapshot.version);
        version.clone().put(&mut change);
        Ok((is_new.then_some(change), version))
    }

    /// The version as the active one, and what has to be written: the one that is active makes room for it.
    pub(super) async fn activate_version<V: Version>(
        &self,
        principal: &Principal,
        snapshot: &Snapshot,
        mut version: V,
    ) -> Result<(CatalogChange, V), Status> {
        let mut change = CatalogChange::new(principal.tenant.clone(), snapshot.version);
        if let Some(active) = V::active(snapshot, version.name())
            && active != version.number()
        {
            let mut retired: V = self.version(principal, version.name(), active).await?;
            *retired.status() = VersionStatus::Inactive;
            retired.put(&mut change);
        }
        *version.status() = VersionStatus::Active;
        version.clone().put(&mut change);
        Ok((change, version))
    }

    /// A version; 0: the newest.
    pub(super) async fn version<V: Version>(
        &self,
        principal: &Principal,
        name: &str,
        number: u32,
    ) -> Result<V, Status> {
        check_text("name", name, NAME_BYTES_MAX)?;
        let before = (number != 0).then(|| number.saturating_add(1));
        let version = V::newest(self.scheduler.store(), &principal.tenant, name, before).await;
        let version = version.map_err(|error| errors::store(&error))?;
        version.filter(|version| number == 0 || version.number() == number).ok_or_else(|| match number {
            0 => errors::not_found(V::KIND, name),
            number => errors::not_found(&format!("{} version", V::KIND), &format!("{name} {number}")),
        })
    }
}

/// A row of the catalog as a version: of this kind, in this list of a change, read so, and known to be active so.
macro_rules! version {
    ($row:ty, $kind:literal, $list:ident, $versions:ident, |$snapshot:ident, $name:ident| $active:expr) => {
        #[tonic::async_trait]
        impl Version for $row {
            const KIND: &'static str = $kind;

            fn name(&self) -> &str {
                &self.name
            }

            fn number(&self) -> u32 {
                self.version
            }

            fn digest(&self) -> &Hash {
                &self.digest
            }

            fn status(&mut self) -> &mut VersionStatus {
                &mut self.status
            }

            fn put(self, change: &mut CatalogChange) {
                change.$list.push(self);
            }

            async fn newest(
                store: &Arc<dyn Store>,
                tenant: &Tenant,
                name: &str,
                before: Option<u32>,
            ) -> Result<Option<Self>, StoreError> {
                Ok(store.$versions(tenant, name, before, 1).await?.into_iter().next())
            }

            fn active($snapshot: &Snapshot, $name: &str) -> Option<u32> {
                $active
            }
        }
    };
}

version!(ProcessVersionRow, "process", processes, process_versions, |snapshot, name| {
    snapshot.active_processes.get(name).copied()
});
version!(FlowVersionRow, "flow", flows, flow_versions, |snapshot, name| snapshot.flows.active.get(name).copied());
version!(CalendarVersionRow, "calendar", calendars, calendar_versions, |snapshot, name| {
    snapshot.calendars.active.get(name).map(|(version, _)| *version)
});
