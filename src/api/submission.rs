//! `SubmissionService`.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use jiff::Timestamp;
use quorate_engine::{
    Json,
    command::{Command, UpdateRecord},
    decide::RECORD_BYTES_MAX,
    decision_rule::ASKED_MAX,
    directory::check_name,
    event::Event,
    evolve,
    id::{SubmissionId, Tenant, UserName},
    refusal::Refusal,
    state::Submission,
    status::SubmissionStatus,
};
use quorate_store::{
    StoreError,
    query::{PAGE_SIZE_MAX, SubmissionQuery},
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    auth::{Principal, Role},
    proto::{
        v1::{self, submission_service_server::SubmissionService},
        value,
    },
    scheduler::{Answer, Ask, Rejection, SubmitAsk},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, parse_id, request_key, traceparent},
    convert, errors, filter, pages,
};

/// For how many steps a submitter chooses who is asked: more than a process has steps of approval that people would fill in.
const CHOICES_MAX: usize = 100;

/// Who may look at submissions.
const READERS: &[Role] = &[Role::Submitter, Role::Reviewer, Role::Designer, Role::Auditor];

#[tonic::async_trait]
impl SubmissionService for Api {
    async fn submit(
        &self,
        request: Request<v1::SubmissionServiceSubmitRequest>,
    ) -> Result<Response<v1::SubmissionServiceSubmitResponse>, Status> {
        let traceparent = traceparent(request.metadata());
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let key = request_key(&principal, &message.request_id, "Submit", &message)?;
        let ask = SubmitAsk { traceparent, ..submit_ask(&principal, message)? };
        let id = SubmissionId(Uuid::now_v7());
        let answer = self.ask(&principal.tenant, id, Ask::Submit(Box::new(ask)), key).await;
        let state = self.settle(&principal.tenant, answer).await?;
        Ok(Response::new(v1::SubmissionServiceSubmitResponse { submission: Some(convert::submission(&state)) }))
    }

    async fn get(
        &self,
        request: Request<v1::SubmissionServiceGetRequest>,
    ) -> Result<Response<v1::SubmissionServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let state = self.submission(&principal.tenant, parse_id("id", &message.id)?).await?;
        Ok(Response::new(v1::SubmissionServiceGetResponse { submission: Some(convert::submission(&state)) }))
    }

    async fn list(
        &self,
        request: Request<v1::SubmissionServiceListRequest>,
    ) -> Result<Response<v1::SubmissionServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let terms = filter::parse(&message.filter, &["process", "status", "submitter", "record_type", "record_id"])?;
        let descending = match message.order_by.trim() {
            "" | "submitted_at desc" => true,
            "submitted_at" | "submitted_at asc" => false,
            _ => return Err(errors::invalid_field("order_by", "has to be `submitted_at` or `submitted_at desc`")),
        };
        let size = pages::size(message.page_size)?;
        let query = ["submissions", &message.filter, if descending { "desc" } else { "asc" }];
        let text = |field: &str| terms.get(field).map(|&value| value.to_owned());
        let rows = self
            .scheduler
            .store()
            .list_submissions(&SubmissionQuery {
                tenant: principal.tenant,
                process: text("process"),
                status: filter::read(&terms, "status", "a status such as IN_PROGRESS", SubmissionStatus::parse)?,
                submitter: text("submitter"),
                record_type: text("record_type"),
                record_id: text("record_id"),
                descending,
                after: pages::after::<(Timestamp, Uuid)>(&message.page_token, &query)?
                    .map(|(at, id)| (at, SubmissionId(id))),
                limit: size,
            })
            .await
            .map_err(|error| errors::store(&error))?;
        let last = rows.last().map(|row| (row.submitted_at, row.id.0));
        let next_page_token = pages::next(rows.len(), size, last, &query);
        let submissions = rows.into_iter().map(convert::submission_entry).collect();
        Ok(Response::new(v1::SubmissionServiceListResponse { submissions, next_page_token }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::SubmissionServiceWatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::SubmissionServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let id = parse_id("id", &message.id)?;
        // The first look happens before the answer, so that an unknown id is an error of the call.
        let subscription = self.scheduler.hub().subscribe(&principal.tenant, id);
        let first = self.submission(&principal.tenant, id).await?;
        let watch = Watch { api: self.clone(), tenant: principal.tenant, subscription, next: Next::Give(first) };
        let stream = futures::stream::unfold(watch, Watch::step);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_events(
        &self,
        request: Request<v1::SubmissionServiceListEventsRequest>,
    ) -> Result<Response<v1::SubmissionServiceListEventsResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let id: SubmissionId = parse_id("id", &message.id)?;
        let size = pages::size(message.page_size)?;
        let query = ["events", message.id.as_str()];
        let after: u64 = pages::after(&message.page_token, &query)?.unwrap_or_default();
        let store = self.scheduler.store();
        let events = store.history(&principal.tenant, id, after, size).await.map_err(|error| errors::store(&error))?;
        if events.is_empty() && after == 0 {
            return Err(errors::rejected(Refusal::SubmissionNotFound.into()));
        }
        let next_page_token = pages::next(events.len(), size, events.last().map(|event| event.seq), &query);
        let events = events.iter().map(convert::event).collect();
        Ok(Response::new(v1::SubmissionServiceListEventsResponse { events, next_page_token }))
    }

    async fn recall(
        &self,
        request: Request<v1::SubmissionServiceRecallRequest>,
    ) -> Result<Response<v1::SubmissionServiceRecallResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let command = Command::Recall { by: principal.actor(), comment: comment(&message.comment)? };
        let key = request_key(&principal, &message.request_id, "Recall", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceRecallResponse { submission }))
    }

    async fn cancel(
        &self,
        request: Request<v1::SubmissionServiceCancelRequest>,
    ) -> Result<Response<v1::SubmissionServiceCancelResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let command = Command::Cancel { by: principal.actor(), comment: comment(&message.comment)? };
        let key = request_key(&principal, &message.request_id, "Cancel", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceCancelResponse { submission }))
    }

    async fn comment(
        &self,
        request: Request<v1::SubmissionServiceCommentRequest>,
    ) -> Result<Response<v1::SubmissionServiceCommentResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter, Role::Reviewer]).await?;
        let command = Command::Comment { by: principal.actor(), comment: comment(&message.comment)? };
        let key = request_key(&principal, &message.request_id, "Comment", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceCommentResponse { submission }))
    }

    async fn retry_step(
        &self,
        request: Request<v1::SubmissionServiceRetryStepRequest>,
    ) -> Result<Response<v1::SubmissionServiceRetryStepResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let by = principal.actor();
        let command = match (message.step.as_str(), message.stage.as_str()) {
            (step, "") => Command::RetryStep { by, step: step.to_owned() },
            ("", stage) => Command::RetryStage { by, stage: stage.to_owned() },
            _ => return Err(errors::invalid_field("stage", "a step or a stage is retried, not both")),
        };
        let key = request_key(&principal, &message.request_id, "RetryStep", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceRetryStepResponse { submission }))
    }

    async fn skip_step(
        &self,
        request: Request<v1::SubmissionServiceSkipStepRequest>,
    ) -> Result<Response<v1::SubmissionServiceSkipStepResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let outputs = match &message.outputs {
            Some(outputs) => value::to_json(outputs, "outputs").map_err(|error| errors::bad_data(&error))?,
            None => Json::Object(serde_json::Map::new()),
        };
        let (step, comment) = (message.step.clone(), comment(&message.comment)?);
        let command = Command::SkipStep { by: principal.actor(), step, outputs, comment };
        let key = request_key(&principal, &message.request_id, "SkipStep", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceSkipStepResponse { submission }))
    }

    async fn update_record(
        &self,
        request: Request<v1::SubmissionServiceUpdateRecordRequest>,
    ) -> Result<Response<v1::SubmissionServiceUpdateRecordResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter, Role::Reviewer]).await?;
        let data = message.data.as_ref().ok_or_else(|| errors::invalid_field("data", "is missing"))?;
        let update = UpdateRecord {
            by: principal.actor(),
            data: Arc::new(record_data("data", data)?),
            comment: comment(&message.comment)?,
            reported: None,
        };
        let key = request_key(&principal, &message.request_id, "UpdateRecord", &message)?;
        let command = Command::UpdateRecord(Box::new(update));
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceUpdateRecordResponse { submission }))
    }

    async fn resubmit(
        &self,
        request: Request<v1::SubmissionServiceResubmitRequest>,
    ) -> Result<Response<v1::SubmissionServiceResubmitResponse>, Status> {
        let traceparent = traceparent(request.metadata());
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let key = request_key(&principal, &message.request_id, "Resubmit", &message)?;
        let before = self.submission(&principal.tenant, parse_id("id", &message.id)?).await?;
        let ask = SubmitAsk { traceparent, ..resubmit_ask(&principal, &message, &before)? };
        let id = SubmissionId(Uuid::now_v7());
        let answer = self.ask(&principal.tenant, id, Ask::Submit(Box::new(ask)), key).await;
        let submission = Some(convert::submission(&*self.settle(&principal.tenant, answer).await?));
        Ok(Response::new(v1::SubmissionServiceResubmitResponse { submission }))
    }

    async fn suspend(
        &self,
        request: Request<v1::SubmissionServiceSuspendRequest>,
    ) -> Result<Response<v1::SubmissionServiceSuspendResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let command = Command::Suspend { by: principal.actor(), comment: comment(&message.comment)? };
        let key = request_key(&principal, &message.request_id, "Suspend", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceSuspendResponse { submission }))
    }

    async fn resume(
        &self,
        request: Request<v1::SubmissionServiceResumeRequest>,
    ) -> Result<Response<v1::SubmissionServiceResumeResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let command = Command::Resume { by: principal.actor(), comment: comment(&message.comment)? };
        let key = request_key(&principal, &message.request_id, "Resume", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceResumeResponse { submission }))
    }

    async fn go_to_stage(
        &self,
        request: Request<v1::SubmissionServiceGoToStageRequest>,
    ) -> Result<Response<v1::SubmissionServiceGoToStageResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let command = Command::GoToStage {
            by: principal.actor(),
            stage: message.stage.clone(),
            comment: comment(&message.comment)?,
        };
        let key = request_key(&principal, &message.request_id, "GoToStage", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceGoToStageResponse { submission }))
    }

    async fn migrate_submission(
        &self,
        request: Request<v1::SubmissionServiceMigrateSubmissionRequest>,
    ) -> Result<Response<v1::SubmissionServiceMigrateSubmissionResponse>, Status> {
        self.move_submission(request).await
    }

    async fn explain(
        &self,
        request: Request<v1::SubmissionServiceExplainRequest>,
    ) -> Result<Response<v1::SubmissionServiceExplainResponse>, Status> {
        self.explanations(request).await
    }
}

impl Api {
    /// A submission as it is stored.
    pub(super) async fn submission(&self, tenant: &Tenant, id: SubmissionId) -> Result<Answer, Status> {
        replay(&self.history(tenant, id).await?)
    }

    pub(super) async fn history(&self, tenant: &Tenant, id: SubmissionId) -> Result<Vec<Event>, Status> {
        let store = self.scheduler.store();
        let mut events = Vec::new();
        // Nearly every history fits into one page.
        loop {
            let after = events.len() as u64;
            let page = store.history(tenant, id, after, PAGE_SIZE_MAX).await.map_err(|error| errors::store(&error))?;
            let full = page.len() >= PAGE_SIZE_MAX as usize;
            for event in &page {
                let event = event.to_event();
                events.push(event.map_err(|error| errors::store(&StoreError::Internal(error.to_string())))?);
            }
            if !full {
                return Ok(events);
            }
        }
    }

    /// Carries out a command and answers with the submission.
    pub(super) async fn command(
        &self,
        principal: &Principal,
        id: &str,
        command: Command,
        key: Option<(quorate_store::store::RequestKey, quorate_store::log::Hash)>,
    ) -> Result<v1::Submission, Status> {
        let id = parse_id("id", id)?;
        let answer = self.ask(&principal.tenant, id, Ask::Command(command), key).await;
        let state = self.settle(&principal.tenant, answer).await?;
        Ok(convert::submission(&state))
    }

    /// The answer once the synchronous steps that the call started have ended, or their `sync_timeout` has passed. It shows the
    /// submission as it was then, so that the same call gets the same answer when it comes again later.
    pub(super) async fn settle(&self, tenant: &Tenant, answer: Result<Answer, Rejection>) -> Result<Answer, Status> {
        let answer = answer.map_err(errors::rejected)?;
        let Some(wait) = answer.sync_wait() else { return Ok(answer) };
        let mut subscription = self.scheduler.hub().subscribe(tenant, answer.id);
        let give_up = tokio::time::sleep(Duration::from_millis(wait));
        tokio::pin!(give_up);
        loop {
            // Read after subscribing: a change in between is seen by one of the two.
            let events = self.history(tenant, answer.id).await?;
            if let Some(settled) = settled(&events, answer.version) {
                return Ok(Arc::new(settled));
            }
            let state = replay(&events)?;
            tokio::select! {
                _ = subscription.beyond(state.version) => {}
                () = &mut give_up => return Ok(state),
            }
        }
    }
}

fn replay(events: &[Event]) -> Result<Answer, Status> {
    evolve::replay(events).map(Arc::new).ok_or_else(|| errors::rejected(Refusal::SubmissionNotFound.into()))
}

/// The submission when no synchronous step was under way any more, at this version or after it; `None` while there is one. Only
/// states between commits count, and the events of a commit have the same time.
fn settled(events: &[Event], version: u64) -> Option<Submission> {
    let (first, rest) = events.split_first()?;
    let mut state = evolve::begin(first)?;
    for (index, event) in rest.iter().enumerate() {
        evolve::evolve(&mut state, event);
        let committed = rest.get(index + 1).is_none_or(|next| next.at != event.at);
        if committed && state.version >= version && state.sync_wait().is_none() {
            return Some(state);
        }
    }
    None
}

/// A stream of a submission's states.
struct Watch {
    api: Api,
    tenant: Tenant,
    subscription: crate::scheduler::hub::Subscription,
    next: Next,
}

enum Next {
    Give(Answer),
    WaitBeyond(SubmissionId, u64),
    End,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<v1::SubmissionServiceWatchResponse, Status>, Self)> {
        let state = match self.next {
            Next::End => return None,
            Next::Give(state) => state,
            Next::WaitBeyond(id, version) => {
                let stop = self.api.stop.clone();
                let state = match stop.run_until_cancelled(self.subscription.beyond(version)).await {
                    Some(Some(state)) => Ok(state),
                    Some(None) => self.api.submission(&self.tenant, id).await,
                    None => Err(errors::stopping()),
                };
                match state {
                    Ok(state) => state,
                    Err(status) => {
                        self.next = Next::End;
                        return Some((Err(status), self));
                    }
                }
            }
        };
        self.next = if state.status.is_terminal() { Next::End } else { Next::WaitBeyond(state.id, state.version) };
        let response = v1::SubmissionServiceWatchResponse { submission: Some(convert::submission(&state)) };
        Some((Ok(response), self))
    }
}

fn submit_ask(principal: &Principal, message: v1::SubmissionServiceSubmitRequest) -> Result<SubmitAsk, Status> {
    if message.process.is_empty() {
        return Err(errors::invalid_field("process", "is missing"));
    }
    let record = message.record.ok_or_else(|| errors::invalid_field("record", "is missing"))?;
    if record.id.is_empty() {
        return Err(errors::invalid_field("record.id", "is missing"));
    }
    check_text("record.id", &record.id, NAME_BYTES_MAX)?;
    check_text("record.type", &record.r#type, NAME_BYTES_MAX)?;
    check_text("comment", &message.comment, usize::MAX)?;
    let data = record_data("record.data", &record.data.unwrap_or_default())?;
    let on_behalf_of = on_behalf_of(&message.on_behalf_of)?;
    Ok(SubmitAsk {
        process: message.process,
        record_type: record.r#type,
        record_id: record.id,
        data: Arc::new(data),
        submitter: principal.name.clone(),
        on_behalf_of,
        comment: message.comment,
        choices: choices(message.choices)?,
        source_version: None,
        administrator: principal.actor().administrator,
        before: None,
        traceparent: None,
        may_exist: false,
    })
}

/// What is submitted in place of a submission: what is not said is as it was there.
fn resubmit_ask(
    principal: &Principal,
    message: &v1::SubmissionServiceResubmitRequest,
    before: &Answer,
) -> Result<SubmitAsk, Status> {
    let record = &before.record;
    let chosen = choices(message.choices.clone())?;
    Ok(SubmitAsk {
        process: before.process.name.clone(),
        record_type: record.record_type.clone(),
        record_id: record.id.clone(),
        data: match &message.data {
            Some(data) => Arc::new(record_data("data", data)?),
            None => Arc::clone(&record.data),
        },
        submitter: principal.name.clone(),
        // Whoever it was made for may make it for themselves now.
        on_behalf_of: before.on_behalf_of.clone().filter(|person| *person != principal.name),
        comment: comment(&message.comment)?,
        choices: if chosen.is_empty() { before.choices.clone() } else { chosen },
        source_version: None,
        administrator: principal.actor().administrator,
        before: Some(Arc::clone(before)),
        traceparent: None,
        may_exist: false,
    })
}

/// Whom a caller acts for, where they say so.
pub(super) fn on_behalf_of(name: &str) -> Result<Option<UserName>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    check_name(name).map_err(|error| errors::invalid_field("on_behalf_of", error.to_string()))?;
    Ok(Some(UserName::from(name)))
}

/// A record's data, within its bound.
pub(super) fn record_data(field: &str, data: &prost_types::Struct) -> Result<Json, Status> {
    let data = value::to_json(data, field).map_err(|error| errors::bad_data(&error))?;
    let bytes = data.to_string().len();
    if bytes > RECORD_BYTES_MAX {
        let description = format!("is {bytes} bytes as JSON: at most {RECORD_BYTES_MAX} are allowed");
        return Err(errors::invalid_field(field, description));
    }
    Ok(data)
}

/// Whom the submitter chooses; whether they can is the rules' business.
pub(super) fn choices(given: BTreeMap<String, v1::Choice>) -> Result<BTreeMap<String, Vec<String>>, Status> {
    if given.len() > CHOICES_MAX {
        let description = format!("are {}: at most {CHOICES_MAX} are allowed", given.len());
        return Err(errors::invalid_field("choices", description));
    }
    for (step, choice) in &given {
        check_text("choices", step, NAME_BYTES_MAX)?;
        for (index, user) in choice.users.iter().enumerate().take(ASKED_MAX as usize) {
            check_text(&format!("choices.{step}[{index}]"), user, NAME_BYTES_MAX)?;
        }
    }
    Ok(given.into_iter().map(|(step, choice)| (step, choice.users)).collect())
}

/// A comment without the character that the store cannot keep; its length is the rules' business.
pub(super) fn comment(text: &str) -> Result<String, Status> {
    check_text("comment", text, usize::MAX)?;
    Ok(text.to_owned())
}

/// The work item that a decision was about, in the state after it.
pub(super) fn work_item_of(state: &Submission, id: quorate_engine::id::WorkItemId) -> Option<v1::WorkItem> {
    state.work_item(id).map(|(stage, step, item)| convert::work_item(state, stage, step, item))
}
