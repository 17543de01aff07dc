//! `FlowService`.

use std::sync::Arc;

use quorate_engine::{
    definition::{Flow, FlowType, read_flow},
    status::VersionStatus,
};
use quorate_store::catalog::FlowVersionRow;
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, flow_service_server::FlowService},
    scheduler::catalog::Snapshot,
};

use super::{
    Api,
    call::request_key,
    catalog::{Worked, check_definition, digest, refuse},
    convert, errors, pages,
    versions::Version,
};

/// Who may look at definitions.
const READERS: &[Role] = &[Role::Designer, Role::Submitter, Role::Reviewer, Role::Auditor, Role::Worker];

#[tonic::async_trait]
impl FlowService for Api {
    async fn publish(
        &self,
        request: Request<v1::FlowServicePublishRequest>,
    ) -> Result<Response<v1::FlowServicePublishResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        check_definition(&message.definition)?;
        let key = request_key(&principal, &message.request_id, "FlowService.Publish", &message)?;
        let flow = read_flow(&message.definition).map_err(|complaints| refuse(&complaints))?;
        if flow.is_declarative {
            check_workflow(message.definition.clone()).await?;
        }
        let (principal, message, flow) = (&principal, &message, &flow);
        let work = |snapshot: Arc<Snapshot>| async move {
            let Worked { change, answer } = self.publish_flow(principal, message, flow, &snapshot).await?;
            Ok(Worked { change, answer: v1::FlowServicePublishResponse { flow: Some(answer) } })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn activate(
        &self,
        request: Request<v1::FlowServiceActivateRequest>,
    ) -> Result<Response<v1::FlowServiceActivateResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        let key = request_key(&principal, &message.request_id, "FlowService.Activate", &message)?;
        let (principal, message) = (&principal, &message);
        let work = |snapshot: Arc<Snapshot>| async move {
            let row: FlowVersionRow = self.version(principal, &message.name, message.version).await?;
            let (change, row) = self.activate_version(principal, &snapshot, row).await?;
            let answer = v1::FlowServiceActivateResponse { flow: Some(to_message(row)) };
            Ok(Worked { change: Some(change), answer })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn get(
        &self,
        request: Request<v1::FlowServiceGetRequest>,
    ) -> Result<Response<v1::FlowServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let version = match message.version {
            0 => {
                let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
                let snapshot = snapshot.map_err(|error| errors::store(&error))?;
                FlowVersionRow::active(&snapshot, &message.name).unwrap_or_default()
            }
            version => version,
        };
        let row = self.version(&principal, &message.name, version).await?;
        Ok(Response::new(v1::FlowServiceGetResponse { flow: Some(to_message(row)) }))
    }

    async fn list(
        &self,
        request: Request<v1::FlowServiceListRequest>,
    ) -> Result<Response<v1::FlowServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let size = pages::size(message.page_size)?;
        let after: Option<String> = pages::after(&message.page_token, &["flows"])?;
        let rows = self.scheduler.store().list_flows(&principal.tenant, after.as_deref(), size).await;
        let rows = rows.map_err(|error| errors::store(&error))?;
        let next_page_token = pages::next(rows.len(), size, rows.last().map(|row| row.name.clone()), &["flows"]);
        let flows = rows.into_iter().map(to_message).collect();
        Ok(Response::new(v1::FlowServiceListResponse { flows, next_page_token }))
    }
}

impl Api {
    async fn publish_flow(
        &self,
        principal: &Principal,
        message: &v1::FlowServicePublishRequest,
        flow: &Flow,
        snapshot: &Snapshot,
    ) -> Result<Worked<v1::Flow>, Status> {
        let digest = digest(&message.definition);
        let make = |version| FlowVersionRow {
            name: flow.name.clone(),
            version,
            status: VersionStatus::Draft,
            flow_type: flow.flow_type.as_str().to_owned(),
            task_queue: flow.task_queue.clone(),
            definition: message.definition.clone(),
            digest,
            published_by: principal.name.to_string(),
            published_at: self.scheduler.clock().now(),
        };
        let wanted = (flow.name.as_str(), &digest, message.activate);
        let (change, row) = self.publish_version(principal, snapshot, wanted, make).await?;
        Ok(Worked { change, answer: to_message(row) })
    }
}

/// Refuses what workers could not run. It compiles every expression, which takes a while: aside, so that no call waits for it.
async fn check_workflow(definition: String) -> Result<(), Status> {
    let check = move || quorate_workflow::Workflow::read(&definition, Some("workflow")).map(drop);
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|_| errors::internal())?.map_err(|complaints| {
        errors::definition_invalid(complaints.into_iter().map(|complaint| {
            let field = format!("{}:{} {}", complaint.line, complaint.column, complaint.path);
            (field.trim_end().to_owned(), complaint.message)
        }))
    })
}

fn to_message(row: FlowVersionRow) -> v1::Flow {
    let flow_type = match row.flow_type.as_str() {
        text if text == FlowType::Autolaunched.as_str() => v1::FlowType::Autolaunched,
        text if text == FlowType::Screen.as_str() => v1::FlowType::Screen,
        text if text == FlowType::Evaluation.as_str() => v1::FlowType::Evaluation,
        _ => v1::FlowType::Unspecified,
    };
    v1::Flow {
        name: row.name,
        version: row.version,
        status: convert::version_status(row.status).into(),
        r#type: flow_type.into(),
        task_queue: row.task_queue,
        definition: row.definition,
        published_by: row.published_by,
        published_at: Some(convert::timestamp(row.published_at)),
    }
}
