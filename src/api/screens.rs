//! The screens of work items: `GetScreen` and `SubmitScreen` of `WorkItemService`.

use std::sync::Arc;

use quorate_engine::{
    command::{Command, SubmitScreen},
    decide::{OpenPage, Screen},
    id::{SubmissionId, WorkItemId},
    refusal::Refusal,
};
use tonic::Status;

use crate::{
    auth::Principal,
    proto::{v1, value},
    scheduler::{Ask, Rejection},
};

use super::{
    Api,
    call::{parse_id, request_key},
    errors,
    submission::work_item_of,
};

impl Api {
    /// What the caller is shown and asked. A screen that cannot be shown puts its step in error, which is a command like any
    /// other: the rules look for themselves, and may find that the submission has gone on meanwhile.
    pub(super) async fn screen(
        &self,
        principal: &Principal,
        id: WorkItemId,
        submission: SubmissionId,
    ) -> Result<v1::WorkItemServiceGetScreenResponse, Status> {
        let state = self.submission(&principal.tenant, submission).await?;
        let by = principal.actor();
        match self.scheduler.open_screen(&principal.tenant, &state, id, &by).await {
            Ok(screen) => Ok(v1::WorkItemServiceGetScreenResponse {
                screen: Some(screen_message(screen)),
                work_item: work_item_of(&state, id),
            }),
            Err(Rejection::Refused(failed @ Refusal::ScreenFailed { .. })) => {
                let command = Command::ReportScreenFailure { work_item: id, by };
                let answer = self.ask(&principal.tenant, submission, Ask::Command(command), None).await;
                match answer {
                    Err(rejection) => Err(errors::rejected(rejection)),
                    Ok(_) => Err(errors::rejected(failed.into())),
                }
            }
            Err(rejection) => Err(errors::rejected(rejection)),
        }
    }

    /// Decides with what was filled in.
    pub(super) async fn submit_on_screen(
        &self,
        principal: &Principal,
        message: &v1::WorkItemServiceSubmitScreenRequest,
    ) -> Result<v1::WorkItemServiceSubmitScreenResponse, Status> {
        let key = request_key(principal, &message.request_id, "SubmitScreen", message)?;
        let id: WorkItemId = parse_id("id", &message.id)?;
        let decide = super::work_item::decide_command(
            principal,
            id,
            &v1::WorkItemServiceDecideRequest {
                id: message.id.clone(),
                verdict: message.verdict,
                comment: message.comment.clone(),
                record_digest: message.record_digest.clone(),
                channel: message.channel.clone(),
                request_id: message.request_id.clone(),
            },
        )?;
        let values = message.values.clone().unwrap_or_default();
        let values = Arc::new(value::to_json(&values, "values").map_err(|error| errors::bad_data(&error))?);
        let command = |_| Command::SubmitScreen(SubmitScreen { decide, values });
        let (work_item, state) = self.on_item(principal, &message.id, key, command).await?;
        Ok(v1::WorkItemServiceSubmitScreenResponse {
            work_item,
            submission_status: super::convert::submission_status(state.status).into(),
        })
    }
}

fn screen_message(screen: Screen) -> v1::Screen {
    let Screen { flow, record_digest, pages } = screen;
    v1::Screen {
        flow: flow.name,
        flow_version: flow.version,
        record_digest,
        pages: pages.into_iter().map(page_message).collect(),
    }
}

fn page_message(page: OpenPage) -> v1::ScreenPage {
    let shown = page.shown.into_iter();
    v1::ScreenPage {
        name: page.name,
        title: page.title,
        description: page.description,
        shown: shown
            .map(|(label, shown)| v1::ShownValue { label, value: Some(value::value_from_json(&shown)) })
            .collect(),
        schema: page.schema.as_ref().map(value::from_json),
        values: Some(value::from_json(&page.values)),
    }
}
