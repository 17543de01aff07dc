//! `WorkItemService`.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use quorate_engine::{
    command::{Command, Decide},
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
    call::{check_text, parse_id, request_key},
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
        let verdict = match message.verdict() {
            v1::Verdict::Approve => Verdict::Approve,
            v1::Verdict::Reject => Verdict::Reject,
            v1::Verdict::Abstain => Verdict::Abstain,
            v1::Verdict::Unspecified => {
                return Err(errors::invalid_field(
                    "verdict",
                    "has to be VERDICT_APPROVE, VERDICT_REJECT or VERDICT_ABSTAIN",
                ));
            }
        };
        if message.record_digest.is_empty() {
            let description = "is missing: give the digest of the record that the reviewer saw";
            return Err(errors::invalid_field("record_digest", description));
        }
        check_text("channel", &message.channel, CHANNEL_BYTES_MAX)?;
        let channel = if message.channel.is_empty() { "API" } else { &message.channel };
        let command = Command::Decide(Decide {
            work_item,
            actor: principal.name.clone(),
            verdict,
            comment: comment(&message.comment)?,
            channel: channel.to_owned(),
            record_digest: message.record_digest.chars().take(64).collect(),
        });
        let answer = self.ask(&principal.tenant, submission, Ask::Command(command), key).await;
        self.settle(&principal.tenant, answer).await
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

fn not_found() -> Status {
    errors::rejected(Refusal::WorkItemNotFound.into())
}
