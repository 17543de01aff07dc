//! `WorkItemService`.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use quorate_engine::{
    command::{Command, Decide, Override, OverrideTarget},
    id::{SubmissionId, WorkItemId},
    refusal::Refusal,
    state::{Assignee, Verdict},
    status::WorkItemStatus,
};
use quorate_store::{
    log::Hash,
    query::WorkItemQuery,
    store::{RequestKey, Wanted},
};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, work_item_service_server::WorkItemService},
    scheduler::{Answer, Ask, Rejection},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, parse_id, request_key},
    convert, errors, filter, pages,
    submission::{comment, work_item_of},
};

/// How many work items one call may decide (DESIGN 2.5).
const BATCH_MAX: usize = 500;

/// How long the name of a channel may be, in bytes.
const CHANNEL_BYTES_MAX: usize = 32;

/// Who may look at work items.
const READERS: &[Role] = &[Role::Reviewer, Role::Submitter, Role::Auditor];

#[tonic::async_trait]
impl WorkItemService for Api {
    async fn list(
        &self,
        request: Request<v1::WorkItemServiceListRequest>,
    ) -> Result<Response<v1::WorkItemServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let terms = filter::parse(&message.filter, &["status", "process", "submission", "assignee"])?;
        let size = pages::size(message.page_size)?;
        if terms.is_empty() {
            return Ok(Response::new(self.inbox(&principal, size, &message.page_token).await?));
        }
        let status = filter::read(&terms, "status", "a status such as ASSIGNED", WorkItemStatus::parse)?;
        let assignees = filter::read(&terms, "assignee", "of the form user:NAME, group:NAME or queue:NAME", |text| {
            let (kind, name) = text.split_once(':')?;
            Some(vec![Assignee::from_parts(kind, name)?.into()])
        })?;
        let query = ["work_items", &message.filter];
        let submission = filter::read(&terms, "submission", "a submission's id", |text| text.parse().ok())?;
        let entries = self
            .scheduler
            .store()
            .list_work_items(&WorkItemQuery {
                tenant: principal.tenant.clone(),
                assignees,
                status,
                process: terms.get("process").map(|&name| name.to_owned()),
                submission,
                after: pages::after::<(Timestamp, Uuid)>(&message.page_token, &query)?
                    .map(|(at, id)| (at, WorkItemId(id))),
                limit: size,
            })
            .await
            .map_err(|error| errors::store(&error))?;
        let last = entries.last().map(|entry| (entry.item.assigned_at, entry.item.id.0));
        let next_page_token = pages::next(entries.len(), size, last, &query);
        let work_items = entries.into_iter().map(convert::work_item_entry).collect();
        Ok(Response::new(v1::WorkItemServiceListResponse { work_items, next_page_token }))
    }

    async fn get(
        &self,
        request: Request<v1::WorkItemServiceGetRequest>,
    ) -> Result<Response<v1::WorkItemServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let id = parse_id("id", &message.id)?;
        let submissions = self.submissions_of(&principal, &[id]).await?;
        let submission = submissions.get(&id).ok_or_else(not_found)?;
        let state = self.submission(&principal.tenant, *submission).await?;
        let work_item = Some(work_item_of(&state, id).ok_or_else(not_found)?);
        Ok(Response::new(v1::WorkItemServiceGetResponse { work_item }))
    }

    async fn decide(
        &self,
        request: Request<v1::WorkItemServiceDecideRequest>,
    ) -> Result<Response<v1::WorkItemServiceDecideResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let id = parse_id("id", &message.id)?;
        let submissions = self.submissions_of(&principal, &[id]).await?;
        let submission = *submissions.get(&id).ok_or_else(not_found)?;
        let key = request_key(&principal, &message.request_id, "Decide", &message)?;
        let state = self.decide_one(&principal, id, submission, &message, key).await?;
        Ok(Response::new(v1::WorkItemServiceDecideResponse {
            work_item: work_item_of(&state, id),
            submission_status: convert::submission_status(state.status).into(),
        }))
    }

    async fn batch_decide(
        &self,
        request: Request<v1::WorkItemServiceBatchDecideRequest>,
    ) -> Result<Response<v1::WorkItemServiceBatchDecideResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        if message.decisions.is_empty() || message.decisions.len() > BATCH_MAX {
            return Err(errors::invalid_field("decisions", format!("has to hold 1 to {BATCH_MAX} decisions")));
        }
        let keys = self.batch_keys(&principal, &message).await?;
        let ids: Vec<WorkItemId> = message.decisions.iter().filter_map(|decision| decision.id.parse().ok()).collect();
        let submissions = self.submissions_of(&principal, &ids).await?;
        let (principal, submissions) = (&principal, &submissions);
        // All at once, so that they share commits; a batch is bounded.
        let results =
            join_all(
                message.decisions.iter().zip(keys).map(|(decision, key)| async move {
                    self.batch_result(principal, submissions, decision, key).await
                }),
            )
            .await;
        Ok(Response::new(v1::WorkItemServiceBatchDecideResponse { results }))
    }

    async fn claim(
        &self,
        request: Request<v1::WorkItemServiceClaimRequest>,
    ) -> Result<Response<v1::WorkItemServiceClaimResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "Claim", &message)?;
        let by = principal.actor();
        let (work_item, _) =
            self.on_item(&principal, &message.id, key, |work_item| Command::Claim { work_item, by }).await?;
        Ok(Response::new(v1::WorkItemServiceClaimResponse { work_item }))
    }

    async fn release(
        &self,
        request: Request<v1::WorkItemServiceReleaseRequest>,
    ) -> Result<Response<v1::WorkItemServiceReleaseResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "Release", &message)?;
        let by = principal.actor();
        let (work_item, _) =
            self.on_item(&principal, &message.id, key, |work_item| Command::Release { work_item, by }).await?;
        Ok(Response::new(v1::WorkItemServiceReleaseResponse { work_item }))
    }

    async fn reassign(
        &self,
        request: Request<v1::WorkItemServiceReassignRequest>,
    ) -> Result<Response<v1::WorkItemServiceReassignResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "Reassign", &message)?;
        let (by, to, comment) = (principal.actor(), assignee(message.to.as_ref())?, comment(&message.comment)?);
        let command = |work_item| Command::Reassign { work_item, by, to, comment };
        let (work_item, _) = self.on_item(&principal, &message.id, key, command).await?;
        Ok(Response::new(v1::WorkItemServiceReassignResponse { work_item }))
    }

    async fn r#override(
        &self,
        request: Request<v1::WorkItemServiceOverrideRequest>,
    ) -> Result<Response<v1::WorkItemServiceOverrideResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let key = request_key(&principal, &message.request_id, "Override", &message)?;
        let command = |target| {
            Ok::<_, Status>(Command::Override(Override {
                target,
                by: principal.actor(),
                verdict: verdict(message.verdict())?,
                comment: comment(&message.comment)?,
                record_digest: record_digest(&message.record_digest)?,
            }))
        };
        let (id, submission, command) = if message.id.is_empty() {
            check_text("step", &message.step, NAME_BYTES_MAX)?;
            let submission = parse_id("submission", &message.submission)?;
            (None, submission, command(OverrideTarget::Step(message.step.clone()))?)
        } else if message.submission.is_empty() && message.step.is_empty() {
            let id = parse_id("id", &message.id)?;
            let submissions = self.submissions_of(&principal, &[id]).await?;
            let submission = *submissions.get(&id).ok_or_else(not_found)?;
            (Some(id), submission, command(OverrideTarget::WorkItem(id))?)
        } else {
            let description = "has to be empty where `submission` and `step` say what is overridden";
            return Err(errors::invalid_field("id", description));
        };
        let answer = self.ask(&principal.tenant, submission, Ask::Command(command), key).await;
        let state = self.settle(&principal.tenant, answer).await?;
        Ok(Response::new(v1::WorkItemServiceOverrideResponse {
            work_item: id.and_then(|id| work_item_of(&state, id)),
            submission_status: convert::submission_status(state.status).into(),
        }))
    }

    async fn request_information(
        &self,
        request: Request<v1::WorkItemServiceRequestInformationRequest>,
    ) -> Result<Response<v1::WorkItemServiceRequestInformationResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "RequestInformation", &message)?;
        check_text("question", &message.question, usize::MAX)?;
        let (by, question) = (principal.actor(), message.question);
        let command = |work_item| Command::RequestInformation { work_item, by, question };
        let (work_item, _) = self.on_item(&principal, &message.id, key, command).await?;
        Ok(Response::new(v1::WorkItemServiceRequestInformationResponse { work_item }))
    }

    async fn answer_information(
        &self,
        request: Request<v1::WorkItemServiceAnswerInformationRequest>,
    ) -> Result<Response<v1::WorkItemServiceAnswerInformationResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter, Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "AnswerInformation", &message)?;
        check_text("answer", &message.answer, usize::MAX)?;
        let (by, answer) = (principal.actor(), message.answer);
        let command = |work_item| Command::AnswerInformation { work_item, by, answer };
        let (work_item, _) = self.on_item(&principal, &message.id, key, command).await?;
        Ok(Response::new(v1::WorkItemServiceAnswerInformationResponse { work_item }))
    }

    async fn send_back(
        &self,
        request: Request<v1::WorkItemServiceSendBackRequest>,
    ) -> Result<Response<v1::WorkItemServiceSendBackResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let key = request_key(&principal, &message.request_id, "SendBack", &message)?;
        check_text("to", &message.to, NAME_BYTES_MAX)?;
        let (by, to, comment) = (principal.actor(), message.to, comment(&message.comment)?);
        let command = |work_item| Command::SendBack { work_item, by, to, comment };
        let (work_item, state) = self.on_item(&principal, &message.id, key, command).await?;
        Ok(Response::new(v1::WorkItemServiceSendBackResponse {
            work_item,
            submission_status: convert::submission_status(state.status).into(),
        }))
    }

    async fn get_screen(
        &self,
        request: Request<v1::WorkItemServiceGetScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceGetScreenResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        let id = parse_id("id", &message.id)?;
        let submissions = self.submissions_of(&principal, &[id]).await?;
        let submission = *submissions.get(&id).ok_or_else(not_found)?;
        Ok(Response::new(self.screen(&principal, id, submission).await?))
    }

    async fn submit_screen(
        &self,
        request: Request<v1::WorkItemServiceSubmitScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceSubmitScreenResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Reviewer]).await?;
        Ok(Response::new(self.submit_on_screen(&principal, &message).await?))
    }
}

impl Api {
    /// By what each decision of a batch is known when the batch comes again: its place in it, and the digest of the whole batch.
    /// Refuses a batch whose id another one had.
    async fn batch_keys(
        &self,
        principal: &Principal,
        message: &v1::WorkItemServiceBatchDecideRequest,
    ) -> Result<Vec<Option<(RequestKey, Hash)>>, Status> {
        let Some((key, digest)) = request_key(principal, &message.request_id, "BatchDecide", message)? else {
            return Ok(vec![None; message.decisions.len()]);
        };
        // A caller's own id holds no control character, so that none of theirs can be one of these.
        let of_place = |place| RequestKey { request_id: format!("{}\u{1f}{place}", key.request_id), ..key.clone() };
        // Another batch may have been longer.
        let wanted = Wanted { requests: (0..BATCH_MAX).map(of_place).collect(), ..Wanted::default() };
        let known = self.scheduler.store().load(&wanted).await.map_err(|error| errors::store(&error))?.requests;
        if known.iter().any(|row| row.digest != digest) {
            return Err(errors::rejected(Rejection::RequestReused));
        }
        Ok((0..message.decisions.len()).map(|place| Some((of_place(place), digest))).collect())
    }

    async fn batch_result(
        &self,
        principal: &Principal,
        submissions: &BTreeMap<WorkItemId, SubmissionId>,
        decision: &v1::WorkItemServiceDecideRequest,
        key: Option<(RequestKey, Hash)>,
    ) -> v1::BatchDecideResult {
        let decided = async {
            let id: WorkItemId = parse_id("id", &decision.id)?;
            let submission = *submissions.get(&id).ok_or_else(not_found)?;
            let state = self.decide_one(principal, id, submission, decision, key).await?;
            Ok::<_, Status>(work_item_of(&state, id))
        };
        match decided.await {
            Ok(work_item) => v1::BatchDecideResult { id: decision.id.clone(), work_item, error: None },
            Err(status) => v1::BatchDecideResult {
                id: decision.id.clone(),
                work_item: None,
                error: Some(v1::BatchDecideError {
                    reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
                    message: status.message().to_owned(),
                }),
            },
        }
    }

    async fn decide_one(
        &self,
        principal: &Principal,
        work_item: WorkItemId,
        submission: SubmissionId,
        message: &v1::WorkItemServiceDecideRequest,
        key: Option<(RequestKey, Hash)>,
    ) -> Result<Answer, Status> {
        let command = Command::Decide(decide_command(principal, work_item, message)?);
        let answer = self.ask(&principal.tenant, submission, Ask::Command(command), key).await;
        self.settle(&principal.tenant, answer).await
    }

    /// Carries out a command on a work item, and answers with the item and its submission after it.
    pub(super) async fn on_item(
        &self,
        principal: &Principal,
        id: &str,
        key: Option<(RequestKey, Hash)>,
        command: impl FnOnce(WorkItemId) -> Command,
    ) -> Result<(Option<v1::WorkItem>, Answer), Status> {
        let id = parse_id("id", id)?;
        let submissions = self.submissions_of(principal, &[id]).await?;
        let submission = *submissions.get(&id).ok_or_else(not_found)?;
        let answer = self.ask(&principal.tenant, submission, Ask::Command(command(id)), key).await;
        let state = self.settle(&principal.tenant, answer).await?;
        Ok((work_item_of(&state, id), state))
    }

    async fn submissions_of(
        &self,
        principal: &Principal,
        ids: &[WorkItemId],
    ) -> Result<BTreeMap<WorkItemId, SubmissionId>, Status> {
        let found = self.scheduler.store().submissions_of(&principal.tenant, ids).await;
        Ok(found.map_err(|error| errors::store(&error))?.into_iter().collect())
    }
}

/// A decision as it is asked for.
pub(super) fn decide_command(
    principal: &Principal,
    work_item: WorkItemId,
    message: &v1::WorkItemServiceDecideRequest,
) -> Result<Decide, Status> {
    let verdict = verdict(message.verdict())?;
    let record_digest = record_digest(&message.record_digest)?;
    check_text("channel", &message.channel, CHANNEL_BYTES_MAX)?;
    let channel = if message.channel.is_empty() { "API" } else { &message.channel };
    Ok(Decide {
        work_item,
        actor: principal.name.clone(),
        verdict,
        comment: comment(&message.comment)?,
        channel: channel.to_owned(),
        record_digest,
    })
}

fn verdict(verdict: v1::Verdict) -> Result<Verdict, Status> {
    match verdict {
        v1::Verdict::Approve => Ok(Verdict::Approve),
        v1::Verdict::Reject => Ok(Verdict::Reject),
        v1::Verdict::Abstain => Ok(Verdict::Abstain),
        v1::Verdict::Unspecified => {
            Err(errors::invalid_field("verdict", "has to be VERDICT_APPROVE, VERDICT_REJECT or VERDICT_ABSTAIN"))
        }
    }
}

/// The digest of the record that somebody saw who decides.
fn record_digest(digest: &str) -> Result<String, Status> {
    if digest.is_empty() {
        let description = "is missing: give the digest of the record that the reviewer saw";
        return Err(errors::invalid_field("record_digest", description));
    }
    Ok(digest.chars().take(64).collect())
}

/// Whom an item is to ask.
fn assignee(to: Option<&v1::Assignee>) -> Result<Assignee, Status> {
    let to = to.ok_or_else(|| errors::invalid_field("to", "is missing: say whom the item is to ask"))?;
    check_text("to.name", &to.name, NAME_BYTES_MAX)?;
    let name = to.name.clone();
    match to.kind() {
        v1::AssigneeKind::User => Ok(Assignee::User(name)),
        v1::AssigneeKind::Group => Ok(Assignee::Group(name)),
        v1::AssigneeKind::Queue => Ok(Assignee::Queue(name)),
        v1::AssigneeKind::Unspecified => Err(errors::invalid_field(
            "to.kind",
            "has to be ASSIGNEE_KIND_USER, ASSIGNEE_KIND_GROUP or ASSIGNEE_KIND_QUEUE",
        )),
    }
}

fn not_found() -> Status {
    errors::rejected(Refusal::WorkItemNotFound.into())
}
