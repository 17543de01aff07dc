//! Screens of work items: what a reviewer is shown and asked, and what they filled in.

use std::sync::Arc;

use quorate_engine::{
    Json,
    command::{Command, SubmitScreen},
    decide::{OpenPage, Opening, SCREEN_VALUES_BYTES_MAX, Screen, open_screen},
    id::WorkItemId,
    refusal::Refusal,
    state::Submission,
};
use quorate_store::StoreError;
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::{v1, value},
    scheduler::{Ask, catalog::Snapshot},
};

use super::{
    Api,
    call::{parse_id, request_key},
    convert, errors,
    submission::work_item_of,
    work_item::not_found,
};

impl Api {
    /// Opens a screen. One that fails stops its step, as any flow that fails does: the lane finds that out once more.
    pub(super) async fn get_work_item_screen(
        &self,
        request: Request<v1::WorkItemServiceGetScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceGetScreenResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let id = parse_id("id", &message.id)?;
        let submissions = self.submissions_of(&principal, &[id]).await?;
        let submission = *submissions.get(&id).ok_or_else(not_found)?;
        let state = self.submission(&principal.tenant, submission).await?;
        match self.open(&principal, &state, id).await? {
            Ok(screen) => Ok(Response::new(v1::WorkItemServiceGetScreenResponse { screen: Some(to_message(screen)) })),
            Err(refusal) => {
                if matches!(refusal, Refusal::ScreenFailed { .. }) {
                    let command = Command::ReportScreenFailure { work_item: id, by: principal.actor() };
                    let told = self.ask(&principal.tenant, submission, Ask::Command(command), None).await;
                    told.map_err(errors::rejected)?;
                }
                Err(errors::rejected(refusal.into()))
            }
        }
    }

    /// Decides with what was filled in.
    pub(super) async fn submit_work_item_screen(
        &self,
        request: Request<v1::WorkItemServiceSubmitScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceSubmitScreenResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "SubmitScreen", &message)?;
        let id = parse_id("id", &message.id)?;
        let values = message.values.clone().unwrap_or_default();
        let values = value::to_json(&values, "values").map_err(|error| errors::bad_data(&error))?;
        let bytes = values.to_string().len();
        if bytes > SCREEN_VALUES_BYTES_MAX {
            let description = format!("is {bytes} bytes as JSON: at most {SCREEN_VALUES_BYTES_MAX} are allowed");
            return Err(errors::invalid_field("values", description));
        }
        let decision = v1::WorkItemServiceDecideRequest {
            id: message.id,
            verdict: message.verdict,
            comment: message.comment,
            record_digest: message.record_digest,
            channel: message.channel,
            request_id: message.request_id,
        };
        let decide = super::work_item::decision(&principal, id, &decision)?;
        let command = Command::SubmitScreen(SubmitScreen { decide, values: Arc::new(values) });
        let submissions = self.submissions_of(&principal, &[id]).await?;
        let submission = *submissions.get(&id).ok_or_else(not_found)?;
        let answer = self.ask(&principal.tenant, submission, Ask::Command(command), key).await;
        let state = self.settle(&principal.tenant, answer).await?;
        Ok(Response::new(v1::WorkItemServiceSubmitScreenResponse {
            work_item: work_item_of(&state, id),
            submission_status: convert::submission_status(state.status).into(),
        }))
    }

    async fn open(
        &self,
        principal: &Principal,
        state: &Submission,
        work_item: WorkItemId,
    ) -> Result<Result<Screen, Refusal>, Status> {
        let (tenant, catalog) = (&principal.tenant, self.scheduler.catalog());
        let stored = |error: StoreError| errors::store(&error);
        let process = catalog.process(tenant, &state.process).await.map_err(stored)?;
        let process = process.ok_or_else(|| errors::not_found("process", &state.process.name))?;
        let mut snapshot = catalog.current(tenant).await.map_err(stored)?;
        for flow in state.screens() {
            snapshot = catalog.with_flow(tenant, snapshot, flow).await.map_err(stored)?;
        }
        let Snapshot { flows, directory, .. } = &*snapshot;
        let now = self.scheduler.clock().now();
        let opening = Opening { state, process: &process, flows, directory, now };
        Ok(open_screen(&opening, work_item, &principal.actor()))
    }
}

fn to_message(screen: Screen) -> v1::Screen {
    v1::Screen {
        flow: screen.flow.name,
        flow_version: screen.flow.version,
        record_digest: screen.record_digest,
        pages: screen.pages.into_iter().map(page).collect(),
    }
}

fn page(page: OpenPage) -> v1::ScreenPage {
    let shown = page.shown.into_iter().map(|(label, shown)| v1::ShownValue { label, value: Some(value_of(&shown)) });
    v1::ScreenPage {
        name: page.name,
        title: page.title,
        description: page.description,
        shown: shown.collect(),
        schema: page.schema.as_ref().map(value::from_json),
        values: Some(value::from_json(&page.values)),
    }
}

/// A value by itself: as the only field of an object.
fn value_of(json: &Json) -> prost_types::Value {
    let object = value::from_json(&serde_json::json!({ "value": json }));
    object.fields.into_values().next().unwrap_or_default()
}
