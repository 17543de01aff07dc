//! `ProcessService`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quorate_engine::{
    definition::{Complaint, Process, read_process},
    process_test::{Surroundings, TestResult, run_tests},
    status::VersionStatus,
};
use quorate_store::{
    StoreError,
    catalog::{CatalogChange, ProcessVersionRow},
};
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, process_service_server::ProcessService},
    scheduler::catalog::Snapshot,
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, request_key},
    catalog::{DEFINITION_BYTES_MAX, KnownIn, Worked, check_definition, complaint, digest, refuse, refuse_untested},
    convert, errors, pages,
};

/// Who may look at definitions.
const READERS: &[Role] = &[Role::Designer, Role::Submitter, Role::Reviewer, Role::Auditor, Role::Worker];

/// How long the tests of a process may take: a hundred take milliseconds, and nobody waits longer for an answer. Those of a hostile
/// definition could take hours, and a thread that runs them cannot be stopped from outside.
const TESTS_TIME_MAX: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl ProcessService for Api {
    async fn publish(
        &self,
        request: Request<v1::ProcessServicePublishRequest>,
    ) -> Result<Response<v1::ProcessServicePublishResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        check_definition(&message.definition)?;
        let key = request_key(&principal, &message.request_id, "ProcessService.Publish", &message)?;
        let (principal, message) = (&principal, &message);
        let work = |snapshot: Arc<Snapshot>| async move {
            let known = self.known_in(&snapshot).await;
            let (process, warnings) =
                read_process(&message.definition, &known).map_err(|complaints| refuse(&complaints))?;
            let (process, failed) = test(process, Arc::clone(&snapshot)).await?;
            if !failed.is_empty() {
                return Err(refuse_untested(&failed));
            }
            let Worked { change, answer } = self.publish_process(principal, message, &process, &snapshot).await?;
            let warnings = warnings.into_iter().map(complaint).collect();
            let answer = v1::ProcessServicePublishResponse { process: Some(answer), warnings };
            Ok(Worked { change, answer })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn validate(
        &self,
        request: Request<v1::ProcessServiceValidateRequest>,
    ) -> Result<Response<v1::ProcessServiceValidateResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        check_definition(&message.definition)?;
        let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
        let snapshot = snapshot.map_err(|error| errors::store(&error))?;
        let complaints = match read_process(&message.definition, &self.known_in(&snapshot).await) {
            Ok((process, mut complaints)) => {
                complaints.extend(test(process, snapshot).await?.1);
                complaints
            }
            Err(complaints) => complaints,
        };
        let complaints = complaints.into_iter().map(complaint).collect();
        Ok(Response::new(v1::ProcessServiceValidateResponse { complaints }))
    }

    async fn activate(
        &self,
        request: Request<v1::ProcessServiceActivateRequest>,
    ) -> Result<Response<v1::ProcessServiceActivateResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        let key = request_key(&principal, &message.request_id, "ProcessService.Activate", &message)?;
        let (principal, message) = (&principal, &message);
        let work = |snapshot: Arc<Snapshot>| async move {
            let row = self.process_row(principal, &message.name, Some(message.version)).await?;
            // What it names may have gone since it was published.
            read_process(&row.definition, &KnownIn::of(&snapshot)).map_err(|complaints| refuse(&complaints))?;
            let (change, row) = self.activate_version(principal, &snapshot, row).await?;
            let answer = v1::ProcessServiceActivateResponse { process: Some(to_message(row)) };
            Ok(Worked { change: Some(change), answer })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn deactivate(
        &self,
        request: Request<v1::ProcessServiceDeactivateRequest>,
    ) -> Result<Response<v1::ProcessServiceDeactivateResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        let key = request_key(&principal, &message.request_id, "ProcessService.Deactivate", &message)?;
        let (principal, message) = (&principal, &message);
        let work = |snapshot: Arc<Snapshot>| async move {
            let mut row = self.process_row(principal, &message.name, None).await?;
            let mut change = CatalogChange::new(principal.tenant.clone(), snapshot.version);
            let was_active = row.status == VersionStatus::Active;
            if was_active {
                row.status = VersionStatus::Inactive;
                change.processes.push(row.clone());
            }
            let answer = v1::ProcessServiceDeactivateResponse { process: Some(to_message(row)) };
            Ok(Worked { change: was_active.then_some(change), answer })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn preview(
        &self,
        request: Request<v1::ProcessServicePreviewRequest>,
    ) -> Result<Response<v1::ProcessServicePreviewResponse>, Status> {
        self.look_ahead(request).await
    }

    async fn get(
        &self,
        request: Request<v1::ProcessServiceGetRequest>,
    ) -> Result<Response<v1::ProcessServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let version = (message.version != 0).then_some(message.version);
        let row = self.process_row(&principal, &message.name, version).await?;
        Ok(Response::new(v1::ProcessServiceGetResponse { process: Some(to_message(row)) }))
    }

    async fn list(
        &self,
        request: Request<v1::ProcessServiceListRequest>,
    ) -> Result<Response<v1::ProcessServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let size = pages::size(message.page_size)?;
        let after: Option<String> = pages::after(&message.page_token, &["processes"])?;
        let rows = self.scheduler.store().list_processes(&principal.tenant, after.as_deref(), size).await;
        let rows = rows.map_err(|error| errors::store(&error))?;
        let next_page_token = pages::next(rows.len(), size, rows.last().map(|row| row.name.clone()), &["processes"]);
        let processes = rows.into_iter().map(to_message).collect();
        Ok(Response::new(v1::ProcessServiceListResponse { processes, next_page_token }))
    }

    async fn list_versions(
        &self,
        request: Request<v1::ProcessServiceListVersionsRequest>,
    ) -> Result<Response<v1::ProcessServiceListVersionsResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let size = pages::size(message.page_size)?;
        check_text("name", &message.name, NAME_BYTES_MAX)?;
        let query = ["process_versions", message.name.as_str()];
        let before: Option<u32> = pages::after(&message.page_token, &query)?;
        let rows = self.scheduler.store().process_versions(&principal.tenant, &message.name, before, size).await;
        let rows = rows.map_err(|error| errors::store(&error))?;
        if rows.is_empty() && before.is_none() {
            return Err(errors::not_found("process", &message.name));
        }
        let next_page_token = pages::next(rows.len(), size, rows.last().map(|row| row.version), &query);
        let processes = rows.into_iter().map(to_message).collect();
        Ok(Response::new(v1::ProcessServiceListVersionsResponse { processes, next_page_token }))
    }
}

impl Api {
    async fn publish_process(
        &self,
        principal: &Principal,
        message: &v1::ProcessServicePublishRequest,
        process: &Process,
        snapshot: &Snapshot,
    ) -> Result<Worked<v1::Process>, Status> {
        // YAML can write characters that stand nowhere in its text.
        for text in [&process.title, &process.record.name] {
            check_text("definition", text, DEFINITION_BYTES_MAX)?;
        }
        let digest = digest(&message.definition);
        let make = |version| ProcessVersionRow {
            name: process.name.clone(),
            version,
            status: VersionStatus::Draft,
            title: process.title.clone(),
            record_type: process.record.name.clone(),
            definition: message.definition.clone(),
            digest,
            published_by: principal.name.to_string(),
            published_at: self.scheduler.clock().now(),
        };
        let wanted = (process.name.as_str(), &digest, message.activate);
        let (change, row) = self.publish_version(principal, snapshot, wanted, make).await?;
        Ok(Worked { change, answer: to_message(row) })
    }

    /// A version; where none is named the active one, or else the newest.
    async fn process_row(
        &self,
        principal: &Principal,
        name: &str,
        version: Option<u32>,
    ) -> Result<ProcessVersionRow, Status> {
        check_text("name", name, NAME_BYTES_MAX)?;
        let store = self.scheduler.store();
        let mut row = store.process_version(&principal.tenant, name, version).await;
        if let (Ok(None), None) = (&row, version) {
            let newest = store.process_versions(&principal.tenant, name, None, 1).await;
            row = newest.map(|rows| rows.into_iter().next());
        }
        row.map_err(|error| errors::store(&error))?.ok_or_else(|| match version {
            Some(version) => errors::not_found("process version", &format!("{name} {version}")),
            None => errors::not_found("process", name),
        })
    }
}

/// Runs the tests of a process on the catalog that it is to be published in. Answers with the process and what fails.
async fn test(process: Process, snapshot: Arc<Snapshot>) -> Result<(Process, Vec<Complaint>), Status> {
    if process.tests.is_empty() {
        return Ok((process, Vec::new()));
    }
    // They may take longer than a task may hold its thread.
    let tested = tokio::task::spawn_blocking(move || {
        let Snapshot { directory, flows, calendars, .. } = &*snapshot;
        let began = Instant::now();
        let go_on = || began.elapsed() < TESTS_TIME_MAX;
        let results = run_tests(&Surroundings { process: &process, flows, calendars, directory }, &go_on);
        let failed = results.iter().filter_map(TestResult::complaint).collect();
        (process, failed)
    });
    tested.await.map_err(|error| errors::store(&StoreError::Internal(error.to_string())))
}

fn to_message(row: ProcessVersionRow) -> v1::Process {
    v1::Process {
        name: row.name,
        version: row.version,
        status: convert::version_status(row.status).into(),
        title: row.title,
        record_type: row.record_type,
        definition: row.definition,
        published_by: row.published_by,
        published_at: Some(convert::timestamp(row.published_at)),
    }
}
