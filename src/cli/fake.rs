//! A server with a handful of rules and no memory beyond its process: what the command line is tested against.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use prost_types::Timestamp;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, async_trait, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use crate::cli::data;
use crate::proto::v1::{
    self, Assignee, AssigneeKind, Decision, Process, Record, StageRun, StageRunStatus, StepRun, StepRunStatus,
    Submission, SubmissionStatus, Verdict, VersionStatus, WorkItem, WorkItemStatus, flow_service_server,
    process_service_server, record_service_server, submission_service_server, work_item_service_server,
};

pub(super) const DIGEST: &str = "d1";

/// The server's state; clones share it.
#[derive(Clone)]
pub(super) struct Fake {
    submissions: Arc<Mutex<BTreeMap<String, watch::Sender<Submission>>>>,
    requests: Arc<Mutex<HashMap<String, String>>>,
    definitions: Arc<Mutex<BTreeMap<String, (u32, String)>>>,
    /// How many of the next Submit calls are carried out, and answered UNAVAILABLE.
    pub(super) lost_answers: Arc<AtomicU32>,
    /// How many of the next Watch streams break after their first message.
    pub(super) broken_streams: Arc<AtomicU32>,
}

/// Takes one from the count, if there is one.
fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

impl Fake {
    /// Serves on a free port; gives the URL.
    pub(super) async fn start() -> (Self, String) {
        let fake = Self {
            submissions: Arc::default(),
            requests: Arc::default(),
            definitions: Arc::default(),
            lost_answers: Arc::default(),
            broken_streams: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (_, health) = tonic_health::server::health_reporter();
        let server = Server::builder()
            .add_service(health)
            .add_service(submission_service_server::SubmissionServiceServer::new(fake.clone()))
            .add_service(work_item_service_server::WorkItemServiceServer::new(fake.clone()))
            .add_service(process_service_server::ProcessServiceServer::new(fake.clone()))
            .add_service(flow_service_server::FlowServiceServer::new(fake.clone()))
            .add_service(record_service_server::RecordServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (fake, url)
    }

    /// How many submissions there are.
    pub(super) fn count(&self) -> usize {
        self.submissions.lock().unwrap().len()
    }

    /// Whether somebody watches the submission.
    pub(super) fn is_watched(&self, id: &str) -> bool {
        self.submissions.lock().unwrap()[id].receiver_count() > 0
    }

    pub(super) fn only(&self) -> Submission {
        let submissions = self.submissions.lock().unwrap();
        assert_eq!(submissions.len(), 1);
        submissions.values().next().unwrap().borrow().clone()
    }

    /// Changes a submission; those who watch it see it.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Submission)) -> Submission {
        let submissions = self.submissions.lock().unwrap();
        submissions[id].send_modify(change);
        submissions[id].borrow().clone()
    }

    fn find(&self, id: &str) -> Result<Submission, Status> {
        let submissions = self.submissions.lock().unwrap();
        submissions.get(id).map(|submission| submission.borrow().clone()).ok_or_else(|| not_found("submission", id))
    }

    fn find_item(&self, id: &str) -> Result<WorkItem, Status> {
        let submission = self.find(id.strip_prefix("item-").unwrap_or_default());
        let item = submission.ok().and_then(|submission| submission.stages[0].steps[0].work_items.first().cloned());
        item.ok_or_else(|| not_found("work item", id))
    }

    fn change_item(&self, id: &str, change: impl FnOnce(&mut WorkItem)) -> Result<WorkItem, Status> {
        let item = self.find_item(id)?;
        let submission =
            self.change(&item.submission, |submission| change(&mut submission.stages[0].steps[0].work_items[0]));
        Ok(submission.stages[0].steps[0].work_items[0].clone())
    }

    fn decide(&self, request: &v1::WorkItemServiceDecideRequest, actor: &str) -> Result<WorkItem, Status> {
        let item = self.find_item(&request.id)?;
        if request.record_digest != DIGEST {
            return Err(refusal(Code::Aborted, "the record has changed", "RECORD_CHANGED", &[("digest", DIGEST)]));
        }
        if let Some(decision) = &item.decision {
            let facts = [("decided_by", decision.actor.as_str())];
            let message = "the work item has been decided";
            return Err(refusal(Code::FailedPrecondition, message, "ALREADY_DECIDED", &facts));
        }
        let (item_status, status) = match request.verdict() {
            Verdict::Approve => (WorkItemStatus::Approved, SubmissionStatus::Approved),
            _ => (WorkItemStatus::Rejected, SubmissionStatus::Rejected),
        };
        let decision = Decision {
            verdict: request.verdict,
            actor: actor.to_owned(),
            comment: request.comment.clone(),
            channel: request.channel.clone(),
            record_digest: request.record_digest.clone(),
            decided_at: Some(at(5)),
            ..Decision::default()
        };
        let submission = self.change(&item.submission, |submission| {
            let item = &mut submission.stages[0].steps[0].work_items[0];
            item.status = item_status.into();
            item.closed_at = Some(at(5));
            item.decision = Some(decision);
            end(submission, status);
        });
        Ok(submission.stages[0].steps[0].work_items[0].clone())
    }

    fn publish(&self, definition: &str) -> Result<Process, Status> {
        let name = definition.lines().find_map(|line| line.strip_prefix("name: ")).unwrap_or_default();
        if let Some(line) = definition.lines().position(|line| line.contains("BAD")) {
            let mut details = ErrorDetails::with_error_info("DEFINITION_INVALID", "quorate", HashMap::new());
            details.add_bad_request_violation(format!("{}:8 title", line + 1), "this is bad");
            return Err(Status::with_error_details(Code::InvalidArgument, "the definition is invalid", details));
        }
        let mut definitions = self.definitions.lock().unwrap();
        let entry = definitions.entry(name.to_owned()).or_default();
        if entry.1 != definition {
            *entry = (entry.0 + 1, definition.to_owned());
        }
        Ok(process(name, entry))
    }

    fn get_definition(&self, name: &str) -> Result<Process, Status> {
        let definitions = self.definitions.lock().unwrap();
        definitions.get(name).map(|entry| process(name, entry)).ok_or_else(|| not_found("definition", name))
    }
}

fn process(name: &str, (version, definition): &(u32, String)) -> Process {
    let status = VersionStatus::Active.into();
    Process { name: name.into(), version: *version, status, definition: definition.clone(), ..Process::default() }
}

fn flow(process: Process) -> v1::Flow {
    v1::Flow { name: process.name, version: process.version, status: process.status, ..v1::Flow::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp { seconds: 1_795_341_600 + second, nanos: 0 }
}

fn refusal(code: Code, message: &str, reason: &str, facts: &[(&str, &str)]) -> Status {
    let facts: HashMap<_, _> = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "quorate", facts))
}

fn not_found(what: &str, id: &str) -> Status {
    refusal(Code::NotFound, &format!("there is no {what} {id}"), "NOT_FOUND", &[])
}

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    let text = |key| request.metadata().get(key).and_then(|value| value.to_str().ok());
    match (text("quorate-user"), text("authorization")) {
        (_, Some("Bearer t0ken")) => Ok("tom".to_owned()),
        (Some(user), None) => Ok(user.to_owned()),
        _ => Err(refusal(Code::Unauthenticated, "who are you?", "UNAUTHENTICATED", &[])),
    }
}

fn end(submission: &mut Submission, status: SubmissionStatus) {
    submission.status = status.into();
    submission.ended_at = Some(at(5));
    let stage = &mut submission.stages[0];
    stage.status = StageRunStatus::Completed.into();
    stage.ended_at = Some(at(5));
    stage.steps[0].status = StepRunStatus::Completed.into();
    stage.steps[0].ended_at = Some(at(5));
}

fn submission(id: &str, process: &str, submitter: &str, record: Record) -> Submission {
    let item = WorkItem {
        id: format!("item-{id}"),
        submission: id.to_owned(),
        process: process.to_owned(),
        stage: "review".to_owned(),
        step: "manager".to_owned(),
        assignee: Some(Assignee { kind: AssigneeKind::User.into(), name: "bob".to_owned() }),
        status: WorkItemStatus::Assigned.into(),
        assigned_at: Some(at(1)),
        submitter: submitter.to_owned(),
        record_digest: DIGEST.to_owned(),
        record_type: "purchase_request".to_owned(),
        record_id: record.id.clone(),
        ..WorkItem::default()
    };
    let step = StepRun {
        id: format!("step-{id}"),
        name: "manager".to_owned(),
        round: 1,
        status: StepRunStatus::InProgress.into(),
        work_items: vec![item],
        started_at: Some(at(1)),
        ..StepRun::default()
    };
    let stage = StageRun {
        id: format!("stage-{id}"),
        name: "review".to_owned(),
        round: 1,
        status: StageRunStatus::InProgress.into(),
        steps: vec![step],
        started_at: Some(at(0)),
        ..StageRun::default()
    };
    Submission {
        id: id.to_owned(),
        process: process.to_owned(),
        process_version: 1,
        status: SubmissionStatus::InProgress.into(),
        record: Some(Record { version: 1, digest: DIGEST.to_owned(), ..record }),
        submitter: submitter.to_owned(),
        stages: vec![stage],
        submitted_at: Some(at(0)),
        ..Submission::default()
    }
}

/// Writes methods that no test calls.
macro_rules! later {
    ($answer:ty) => {
        Err::<Response<$answer>, _>(Status::unimplemented("not in the fake"))
    };
}

#[async_trait]
impl submission_service_server::SubmissionService for Fake {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::SubmissionServiceWatchResponse, Status>> + Send>>;

    async fn submit(
        &self,
        request: Request<v1::SubmissionServiceSubmitRequest>,
    ) -> Result<Response<v1::SubmissionServiceSubmitResponse>, Status> {
        let submitter = caller(&request)?;
        let request = request.into_inner();
        let record = request.record.unwrap_or_default();
        if record.data.as_ref().is_some_and(|data| data.fields.contains_key("wrong")) {
            let mut details = ErrorDetails::with_error_info("RECORD_INVALID", "quorate", HashMap::new());
            details.add_bad_request_violation("record.data.amount", "is required, and must be a number");
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                "the record does not meet the schema of the process",
                details,
            ));
        }
        let id = {
            let mut requests = self.requests.lock().unwrap();
            let next = format!("s{}", requests.len() + 1);
            requests.entry(request.request_id).or_insert(next).clone()
        };
        let submission = submission(&id, &request.process, &submitter, record);
        self.submissions.lock().unwrap().entry(id.clone()).or_insert_with(|| watch::Sender::new(submission.clone()));
        if request.process == "quorate-bench-w1" {
            let fake = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                fake.change(&id, |submission| end(submission, SubmissionStatus::Approved));
            });
        }
        if take(&self.lost_answers) {
            return Err(Status::unavailable("try again"));
        }
        Ok(Response::new(v1::SubmissionServiceSubmitResponse { submission: Some(submission) }))
    }

    async fn get(
        &self,
        request: Request<v1::SubmissionServiceGetRequest>,
    ) -> Result<Response<v1::SubmissionServiceGetResponse>, Status> {
        let submission = Some(self.find(&request.get_ref().id)?);
        Ok(Response::new(v1::SubmissionServiceGetResponse { submission }))
    }

    async fn list(
        &self,
        request: Request<v1::SubmissionServiceListRequest>,
    ) -> Result<Response<v1::SubmissionServiceListResponse>, Status> {
        let request = request.into_inner();
        let submissions = self.submissions.lock().unwrap();
        let from = request.page_token.parse().unwrap_or(0);
        let size = usize::try_from(request.page_size).unwrap();
        let page: Vec<_> = submissions.values().skip(from).take(size).map(|it| it.borrow().clone()).collect();
        let next = from + page.len();
        let next_page_token = if next < submissions.len() { next.to_string() } else { String::new() };
        Ok(Response::new(v1::SubmissionServiceListResponse { submissions: page, next_page_token }))
    }

    async fn watch(
        &self,
        request: Request<v1::SubmissionServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let id = &request.get_ref().id;
        self.find(id)?;
        let mut changes = self.submissions.lock().unwrap()[id].subscribe();
        changes.mark_changed();
        let breaks = take(&self.broken_streams);
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let submission = changes.borrow_and_update().clone();
                let ended = submission.ended_at.is_some();
                let answer = v1::SubmissionServiceWatchResponse { submission: Some(submission) };
                if sender.send(Ok(answer)).await.is_err() || ended {
                    return;
                }
                if breaks {
                    let _ = sender.send(Err(Status::unavailable("going down"))).await;
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn recall(
        &self,
        request: Request<v1::SubmissionServiceRecallRequest>,
    ) -> Result<Response<v1::SubmissionServiceRecallResponse>, Status> {
        self.find(&request.get_ref().id)?;
        let recall = |submission: &mut Submission| end(submission, SubmissionStatus::Recalled);
        let submission = Some(self.change(&request.get_ref().id, recall));
        Ok(Response::new(v1::SubmissionServiceRecallResponse { submission }))
    }

    async fn update_record(
        &self,
        request: Request<v1::SubmissionServiceUpdateRecordRequest>,
    ) -> Result<Response<v1::SubmissionServiceUpdateRecordResponse>, Status> {
        let request = request.into_inner();
        self.find(&request.id)?;
        let submission = self.change(&request.id, |submission| {
            let record = submission.record.get_or_insert_default();
            record.data = request.data;
            record.version += 1;
            submission.comment = request.comment;
        });
        Ok(Response::new(v1::SubmissionServiceUpdateRecordResponse { submission: Some(submission) }))
    }

    async fn resubmit(
        &self,
        request: Request<v1::SubmissionServiceResubmitRequest>,
    ) -> Result<Response<v1::SubmissionServiceResubmitResponse>, Status> {
        let request = request.into_inner();
        let submission = self.change(&request.id, |submission| {
            submission.resubmission_of = submission.id.clone();
            submission.comment = request.comment;
        });
        Ok(Response::new(v1::SubmissionServiceResubmitResponse { submission: Some(submission) }))
    }

    async fn list_events(
        &self,
        _: Request<v1::SubmissionServiceListEventsRequest>,
    ) -> Result<Response<v1::SubmissionServiceListEventsResponse>, Status> {
        later!(v1::SubmissionServiceListEventsResponse)
    }

    async fn cancel(
        &self,
        _: Request<v1::SubmissionServiceCancelRequest>,
    ) -> Result<Response<v1::SubmissionServiceCancelResponse>, Status> {
        Err(refusal(Code::PermissionDenied, "only an administrator may cancel", "PERMISSION_DENIED", &[]))
    }

    async fn comment(
        &self,
        _: Request<v1::SubmissionServiceCommentRequest>,
    ) -> Result<Response<v1::SubmissionServiceCommentResponse>, Status> {
        later!(v1::SubmissionServiceCommentResponse)
    }

    async fn retry_step(
        &self,
        _: Request<v1::SubmissionServiceRetryStepRequest>,
    ) -> Result<Response<v1::SubmissionServiceRetryStepResponse>, Status> {
        later!(v1::SubmissionServiceRetryStepResponse)
    }

    async fn skip_step(
        &self,
        _: Request<v1::SubmissionServiceSkipStepRequest>,
    ) -> Result<Response<v1::SubmissionServiceSkipStepResponse>, Status> {
        later!(v1::SubmissionServiceSkipStepResponse)
    }

    async fn suspend(
        &self,
        request: Request<v1::SubmissionServiceSuspendRequest>,
    ) -> Result<Response<v1::SubmissionServiceSuspendResponse>, Status> {
        self.find(&request.get_ref().id)?;
        let suspend = |submission: &mut Submission| submission.status = SubmissionStatus::Suspended.into();
        let submission = Some(self.change(&request.get_ref().id, suspend));
        Ok(Response::new(v1::SubmissionServiceSuspendResponse { submission }))
    }

    async fn resume(
        &self,
        request: Request<v1::SubmissionServiceResumeRequest>,
    ) -> Result<Response<v1::SubmissionServiceResumeResponse>, Status> {
        self.find(&request.get_ref().id)?;
        let resume = |submission: &mut Submission| submission.status = SubmissionStatus::InProgress.into();
        let submission = Some(self.change(&request.get_ref().id, resume));
        Ok(Response::new(v1::SubmissionServiceResumeResponse { submission }))
    }

    async fn go_to_stage(
        &self,
        request: Request<v1::SubmissionServiceGoToStageRequest>,
    ) -> Result<Response<v1::SubmissionServiceGoToStageResponse>, Status> {
        let request = request.into_inner();
        self.find(&request.id)?;
        let go = |submission: &mut Submission| submission.stages[0].name = request.stage;
        let submission = Some(self.change(&request.id, go));
        Ok(Response::new(v1::SubmissionServiceGoToStageResponse { submission }))
    }

    async fn explain(
        &self,
        request: Request<v1::SubmissionServiceExplainRequest>,
    ) -> Result<Response<v1::SubmissionServiceExplainResponse>, Status> {
        let request = request.into_inner();
        self.find(&request.id)?;
        let text = format!("step {} started, because it had to", request.step);
        let explanation = v1::Explanation { seq: 2, at: Some(at(1)), text, ..v1::Explanation::default() };
        Ok(Response::new(v1::SubmissionServiceExplainResponse { explanations: vec![explanation] }))
    }

    async fn migrate_submission(
        &self,
        request: Request<v1::SubmissionServiceMigrateSubmissionRequest>,
    ) -> Result<Response<v1::SubmissionServiceMigrateSubmissionResponse>, Status> {
        let request = request.into_inner();
        let mut submission = self.find(&request.id)?;
        let mut events = Vec::new();
        submission.process_version = request.to_version;
        if let Some(new) = request.stages.get("review") {
            new.clone_into(&mut submission.stages[0].name);
        }
        if request.validate_only {
            events.push(v1::Event {
                seq: 2,
                at: Some(at(5)),
                kind: "SUBMISSION_MIGRATED".into(),
                ..v1::Event::default()
            });
        } else {
            self.change(&request.id, |stored| stored.clone_from(&submission));
        }
        let submission = Some(submission);
        Ok(Response::new(v1::SubmissionServiceMigrateSubmissionResponse { submission, events }))
    }
}

#[async_trait]
impl work_item_service_server::WorkItemService for Fake {
    async fn list(
        &self,
        request: Request<v1::WorkItemServiceListRequest>,
    ) -> Result<Response<v1::WorkItemServiceListResponse>, Status> {
        let caller = caller(&request)?;
        let submissions = self.submissions.lock().unwrap();
        let items = submissions.values().map(|submission| submission.borrow().stages[0].steps[0].work_items[0].clone());
        let mine = |item: &WorkItem| {
            item.decision.is_none() && item.assignee.as_ref().is_some_and(|assignee| assignee.name == caller)
        };
        let work_items = items.filter(mine).collect();
        Ok(Response::new(v1::WorkItemServiceListResponse { work_items, next_page_token: String::new() }))
    }

    async fn get(
        &self,
        request: Request<v1::WorkItemServiceGetRequest>,
    ) -> Result<Response<v1::WorkItemServiceGetResponse>, Status> {
        let work_item = Some(self.find_item(&request.get_ref().id)?);
        Ok(Response::new(v1::WorkItemServiceGetResponse { work_item }))
    }

    async fn decide(
        &self,
        request: Request<v1::WorkItemServiceDecideRequest>,
    ) -> Result<Response<v1::WorkItemServiceDecideResponse>, Status> {
        let item = Fake::decide(self, request.get_ref(), &caller(&request)?)?;
        let submission_status = self.find(&item.submission)?.status;
        Ok(Response::new(v1::WorkItemServiceDecideResponse { work_item: Some(item), submission_status }))
    }

    async fn batch_decide(
        &self,
        request: Request<v1::WorkItemServiceBatchDecideRequest>,
    ) -> Result<Response<v1::WorkItemServiceBatchDecideResponse>, Status> {
        let actor = caller(&request)?;
        let results = request.get_ref().decisions.iter().map(|decision| {
            let (work_item, error) = match Fake::decide(self, decision, &actor) {
                Ok(item) => (Some(item), None),
                Err(status) => {
                    let reason = status.get_details_error_info().unwrap().reason;
                    (None, Some(v1::BatchDecideError { reason, message: status.message().to_owned() }))
                }
            };
            v1::BatchDecideResult { id: decision.id.clone(), work_item, error }
        });
        Ok(Response::new(v1::WorkItemServiceBatchDecideResponse { results: results.collect() }))
    }

    async fn claim(
        &self,
        request: Request<v1::WorkItemServiceClaimRequest>,
    ) -> Result<Response<v1::WorkItemServiceClaimResponse>, Status> {
        let by = caller(&request)?;
        let claim = |item: &mut WorkItem| (item.claimed_by, item.claimed_until) = (by, Some(at(9)));
        let work_item = Some(self.change_item(&request.get_ref().id, claim)?);
        Ok(Response::new(v1::WorkItemServiceClaimResponse { work_item }))
    }

    async fn release(
        &self,
        request: Request<v1::WorkItemServiceReleaseRequest>,
    ) -> Result<Response<v1::WorkItemServiceReleaseResponse>, Status> {
        let release = |item: &mut WorkItem| (item.claimed_by, item.claimed_until) = (String::new(), None);
        let work_item = Some(self.change_item(&request.get_ref().id, release)?);
        Ok(Response::new(v1::WorkItemServiceReleaseResponse { work_item }))
    }

    async fn reassign(
        &self,
        request: Request<v1::WorkItemServiceReassignRequest>,
    ) -> Result<Response<v1::WorkItemServiceReassignResponse>, Status> {
        let request = request.into_inner();
        let work_item = Some(self.change_item(&request.id, |item| item.assignee = request.to)?);
        Ok(Response::new(v1::WorkItemServiceReassignResponse { work_item }))
    }

    async fn r#override(
        &self,
        request: Request<v1::WorkItemServiceOverrideRequest>,
    ) -> Result<Response<v1::WorkItemServiceOverrideResponse>, Status> {
        let request = request.into_inner();
        if request.record_digest != DIGEST || request.comment.is_empty() {
            return Err(Status::invalid_argument("not what was seen, or no comment"));
        }
        let status = match request.verdict() {
            Verdict::Approve => SubmissionStatus::Approved,
            _ => SubmissionStatus::Rejected,
        };
        let work_item = self.find_item(&request.id).ok();
        let id = work_item.as_ref().map_or(&request.submission, |item| &item.submission);
        let submission = self.change(&self.find(id)?.id, |submission| end(submission, status));
        Ok(Response::new(v1::WorkItemServiceOverrideResponse { work_item, submission_status: submission.status }))
    }

    async fn request_information(
        &self,
        request: Request<v1::WorkItemServiceRequestInformationRequest>,
    ) -> Result<Response<v1::WorkItemServiceRequestInformationResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        let question = v1::Question { by, question: request.question, ..v1::Question::default() };
        let work_item = Some(self.change_item(&request.id, |item| item.open_question = Some(question))?);
        Ok(Response::new(v1::WorkItemServiceRequestInformationResponse { work_item }))
    }

    async fn answer_information(
        &self,
        request: Request<v1::WorkItemServiceAnswerInformationRequest>,
    ) -> Result<Response<v1::WorkItemServiceAnswerInformationResponse>, Status> {
        let request = request.into_inner();
        let answer = |item: &mut WorkItem| {
            let question = item.open_question.take().unwrap();
            item.questions.push(v1::Question { answer: request.answer, ..question });
        };
        let work_item = Some(self.change_item(&request.id, answer)?);
        Ok(Response::new(v1::WorkItemServiceAnswerInformationResponse { work_item }))
    }

    async fn send_back(
        &self,
        request: Request<v1::WorkItemServiceSendBackRequest>,
    ) -> Result<Response<v1::WorkItemServiceSendBackResponse>, Status> {
        let by = caller(&request)?;
        let v1::WorkItemServiceSendBackRequest { id, to, comment, .. } = request.into_inner();
        let item = self.change_item(&id, |item| item.status = WorkItemStatus::Withdrawn.into())?;
        let sent_back = v1::SentBack { to, by, comment };
        let submission = self.change(&item.submission, |submission| submission.stages[0].sent_back = Some(sent_back));
        let submission_status = submission.status;
        Ok(Response::new(v1::WorkItemServiceSendBackResponse { work_item: Some(item), submission_status }))
    }

    async fn get_screen(
        &self,
        request: Request<v1::WorkItemServiceGetScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceGetScreenResponse>, Status> {
        let work_item = Some(self.find_item(&request.get_ref().id)?);
        let shown = v1::ShownValue { label: "Vendor".into(), value: Some("ACME".to_owned().into()) };
        let schema = data::to_struct(&json!({ "properties": { "cost_center": { "title": "Cost center" } } })).unwrap();
        let values = data::to_struct(&json!({ "cost_center": "4711" })).unwrap();
        let page = v1::ScreenPage {
            name: "look".into(),
            title: "The purchase".into(),
            description: "Is the vendor known?".into(),
            shown: vec![shown],
            schema: Some(schema),
            values: Some(values),
        };
        let (flow, record_digest) = ("purchase-review".to_owned(), DIGEST.to_owned());
        let screen = Some(v1::Screen { flow, flow_version: 2, record_digest, pages: vec![page] });
        Ok(Response::new(v1::WorkItemServiceGetScreenResponse { screen, work_item }))
    }

    async fn submit_screen(
        &self,
        request: Request<v1::WorkItemServiceSubmitScreenRequest>,
    ) -> Result<Response<v1::WorkItemServiceSubmitScreenResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        if !request.values.is_some_and(|values| values.fields.contains_key("cost_center")) {
            return Err(Status::invalid_argument("nothing was filled in"));
        }
        let decide = v1::WorkItemServiceDecideRequest {
            id: request.id,
            verdict: request.verdict,
            comment: request.comment,
            record_digest: request.record_digest,
            channel: request.channel,
            request_id: request.request_id,
        };
        let item = Fake::decide(self, &decide, &by)?;
        let submission_status = self.find(&item.submission)?.status;
        let work_item = Some(item);
        Ok(Response::new(v1::WorkItemServiceSubmitScreenResponse { work_item, submission_status }))
    }
}

#[async_trait]
impl process_service_server::ProcessService for Fake {
    async fn publish(
        &self,
        request: Request<v1::ProcessServicePublishRequest>,
    ) -> Result<Response<v1::ProcessServicePublishResponse>, Status> {
        let process = Some(Fake::publish(self, &request.get_ref().definition)?);
        Ok(Response::new(v1::ProcessServicePublishResponse { process, warnings: Vec::new() }))
    }

    async fn validate(
        &self,
        request: Request<v1::ProcessServiceValidateRequest>,
    ) -> Result<Response<v1::ProcessServiceValidateResponse>, Status> {
        let lines = request.get_ref().definition.lines().zip(1..);
        let complaint = |(text, line): (&str, u32), word: &str| {
            let column = u32::try_from(text.find(word)?).unwrap() + 1;
            let message = format!("this is {}", word.to_lowercase());
            Some(v1::Complaint { line, column, message, warning: word == "ODD", ..v1::Complaint::default() })
        };
        let complaints = lines.flat_map(|line| [complaint(line, "BAD"), complaint(line, "ODD")]).flatten().collect();
        Ok(Response::new(v1::ProcessServiceValidateResponse { complaints }))
    }

    async fn activate(
        &self,
        request: Request<v1::ProcessServiceActivateRequest>,
    ) -> Result<Response<v1::ProcessServiceActivateResponse>, Status> {
        let process = Some(self.get_definition(&request.get_ref().name)?);
        Ok(Response::new(v1::ProcessServiceActivateResponse { process }))
    }

    async fn deactivate(
        &self,
        _: Request<v1::ProcessServiceDeactivateRequest>,
    ) -> Result<Response<v1::ProcessServiceDeactivateResponse>, Status> {
        later!(v1::ProcessServiceDeactivateResponse)
    }

    async fn preview(
        &self,
        request: Request<v1::ProcessServicePreviewRequest>,
    ) -> Result<Response<v1::ProcessServicePreviewResponse>, Status> {
        let request = request.into_inner();
        let line = |text: String, assumed| v1::PreviewLine {
            explanation: Some(v1::Explanation { text, ..v1::Explanation::default() }),
            assumed,
        };
        let rule = format!("start: when {}", request.outputs.keys().next().map_or("", String::as_str));
        let step =
            v1::UnstartedStep { step: "board".into(), rule, values: request.data, ..v1::UnstartedStep::default() };
        Ok(Response::new(v1::ProcessServicePreviewResponse {
            status: SubmissionStatus::Approved.into(),
            lines: vec![line(format!("{} is asked", request.submitter), false), line("bob approved".into(), true)],
            not_started: vec![step],
            stopped: String::new(),
        }))
    }

    async fn get(
        &self,
        request: Request<v1::ProcessServiceGetRequest>,
    ) -> Result<Response<v1::ProcessServiceGetResponse>, Status> {
        let process = Some(self.get_definition(&request.get_ref().name)?);
        Ok(Response::new(v1::ProcessServiceGetResponse { process }))
    }

    async fn list(
        &self,
        _: Request<v1::ProcessServiceListRequest>,
    ) -> Result<Response<v1::ProcessServiceListResponse>, Status> {
        later!(v1::ProcessServiceListResponse)
    }

    async fn list_versions(
        &self,
        request: Request<v1::ProcessServiceListVersionsRequest>,
    ) -> Result<Response<v1::ProcessServiceListVersionsResponse>, Status> {
        let processes = vec![self.get_definition(&request.get_ref().name)?];
        Ok(Response::new(v1::ProcessServiceListVersionsResponse { processes, next_page_token: String::new() }))
    }
}

#[async_trait]
impl flow_service_server::FlowService for Fake {
    async fn publish(
        &self,
        request: Request<v1::FlowServicePublishRequest>,
    ) -> Result<Response<v1::FlowServicePublishResponse>, Status> {
        let flow = Some(flow(Fake::publish(self, &request.get_ref().definition)?));
        Ok(Response::new(v1::FlowServicePublishResponse { flow }))
    }

    async fn activate(
        &self,
        _: Request<v1::FlowServiceActivateRequest>,
    ) -> Result<Response<v1::FlowServiceActivateResponse>, Status> {
        later!(v1::FlowServiceActivateResponse)
    }

    async fn get(
        &self,
        request: Request<v1::FlowServiceGetRequest>,
    ) -> Result<Response<v1::FlowServiceGetResponse>, Status> {
        let flow = Some(flow(self.get_definition(&request.get_ref().name)?));
        Ok(Response::new(v1::FlowServiceGetResponse { flow }))
    }

    async fn list(
        &self,
        _: Request<v1::FlowServiceListRequest>,
    ) -> Result<Response<v1::FlowServiceListResponse>, Status> {
        later!(v1::FlowServiceListResponse)
    }
}

#[async_trait]
impl record_service_server::RecordService for Fake {
    /// A record of the type `order` is submitted, any other is nobody's.
    async fn report_change(
        &self,
        request: Request<v1::RecordServiceReportChangeRequest>,
    ) -> Result<Response<v1::RecordServiceReportChangeResponse>, Status> {
        let request = request.into_inner();
        let record = request.record.unwrap_or_default();
        let submitted = v1::ChangeEffect {
            process: "order".to_owned(),
            submission: format!("s-{}-{}", record.id, record.source_version),
            outcome: v1::change_effect::Outcome::Submitted.into(),
            ..v1::ChangeEffect::default()
        };
        let refused = v1::ChangeEffect {
            process: format!("{:?} for {}", v1::ChangeKind::try_from(request.kind).unwrap(), request.on_behalf_of),
            outcome: v1::change_effect::Outcome::Refused.into(),
            reason: "EXPRESSION_FAILED".to_owned(),
            message: "no such field".to_owned(),
            ..v1::ChangeEffect::default()
        };
        let effects = if record.r#type == "order" { vec![submitted, refused] } else { Vec::new() };
        Ok(Response::new(v1::RecordServiceReportChangeResponse { effects }))
    }

    /// The record 1 is locked by a step, which lets eve edit it.
    async fn get_lock(
        &self,
        request: Request<v1::RecordServiceGetLockRequest>,
    ) -> Result<Response<v1::RecordServiceGetLockResponse>, Status> {
        let request = request.into_inner();
        let lock = v1::RecordLock {
            submission: "s1".to_owned(),
            process: "order".to_owned(),
            step: "manager".to_owned(),
            allow_reviewer_edit: true,
            since: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..v1::RecordLock::default()
        };
        let locks = if request.record_id == "1" { vec![lock] } else { Vec::new() };
        let may_edit = locks.is_empty() || request.user == "eve";
        Ok(Response::new(v1::RecordServiceGetLockResponse { locked: !locks.is_empty(), locks, may_edit }))
    }

    async fn lock(
        &self,
        request: Request<v1::RecordServiceLockRequest>,
    ) -> Result<Response<v1::RecordServiceLockResponse>, Status> {
        let request = request.into_inner();
        let lock = v1::RecordLock { holder: request.holder, until: request.until, ..v1::RecordLock::default() };
        Ok(Response::new(v1::RecordServiceLockResponse { lock: Some(lock) }))
    }

    async fn unlock(
        &self,
        request: Request<v1::RecordServiceUnlockRequest>,
    ) -> Result<Response<v1::RecordServiceUnlockResponse>, Status> {
        Ok(Response::new(v1::RecordServiceUnlockResponse { locked: request.get_ref().record_id == "1" }))
    }
}
