//! A caller of the API, and what the tests ask most.

use std::{collections::BTreeMap, net::SocketAddr};

use quorate::proto::{
    v1::{
        self, BatchDecideResult, Event, Submission, SubmissionStatus, Verdict, WorkItem,
        calendar_service_client::CalendarServiceClient, directory_service_client::DirectoryServiceClient,
        flow_service_client::FlowServiceClient, job_service_client::JobServiceClient,
        process_service_client::ProcessServiceClient, record_service_client::RecordServiceClient,
        submission_service_client::SubmissionServiceClient, work_item_service_client::WorkItemServiceClient,
    },
    value,
};
use serde_json::Value;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt;

use crate::queue_support::{until, within};

/// Calls that a test makes at the same time: more wait for one of a server's ten connections to its store, on a loaded machine for longer
/// than a server lets them.
pub(crate) const CALLS_AT_ONCE: usize = 16;

/// Says who calls.
#[derive(Clone, Default)]
pub(crate) struct Identity {
    pub(crate) token: Option<MetadataValue<Ascii>>,
    pub(crate) user: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        if let Some(user) = &self.user {
            request.metadata_mut().insert("quorate-user", user.clone());
        }
        Ok(request)
    }
}

/// A caller of one server.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    identity: Identity,
}

type Service = InterceptedService<Channel, Identity>;

macro_rules! services {
    ($($name:ident: $client:ident;)*) => {$(
        pub(crate) fn $name(&self) -> $client<Service> {
            $client::with_interceptor(self.channel.clone(), self.identity.clone())
        }
    )*};
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, identity: Identity) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { channel, identity }
    }

    pub(crate) fn with_token(address: SocketAddr, token: &str) -> Self {
        let token = Some(format!("Bearer {token}").parse().unwrap());
        Self::new(address, Identity { token, user: None })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    services! {
        submissions: SubmissionServiceClient;
        work_items: WorkItemServiceClient;
        processes: ProcessServiceClient;
        flows: FlowServiceClient;
        calendars: CalendarServiceClient;
        directory: DirectoryServiceClient;
        jobs: JobServiceClient;
        records: RecordServiceClient;
    }

    pub(crate) async fn submit(&self, process: &str, data: Value) -> Submission {
        self.try_submit(submit(process, "", &data)).await.unwrap()
    }

    pub(crate) async fn try_submit(&self, request: v1::SubmissionServiceSubmitRequest) -> Result<Submission, Status> {
        Ok(self.submissions().submit(request).await?.into_inner().submission.unwrap())
    }

    /// Submits as part of a trace.
    pub(crate) async fn submit_under(&self, traceparent: &'static str, process: &str, data: Value) -> Submission {
        let mut request = Request::new(submit(process, "", &data));
        request.metadata_mut().insert("traceparent", MetadataValue::from_static(traceparent));
        self.submissions().submit(request).await.unwrap().into_inner().submission.unwrap()
    }

    pub(crate) async fn get(&self, id: &str) -> Submission {
        let request = v1::SubmissionServiceGetRequest { id: id.to_owned() };
        self.submissions().get(request).await.unwrap().into_inner().submission.unwrap()
    }

    /// The open work items of a submission that ask these users, in their order.
    pub(crate) async fn items_of(&self, id: &str, users: &[&str]) -> Vec<WorkItem> {
        let filter = format!("submission = {id} AND status = ASSIGNED");
        let request = v1::WorkItemServiceListRequest { filter, page_size: 500, ..Default::default() };
        let open = self.work_items().list(request).await.unwrap().into_inner().work_items;
        let item = |user: &&str| open.iter().find(|item| item.assignee.as_ref().is_some_and(|who| who.name == **user));
        users.iter().map(|user| item(user).unwrap_or_else(|| panic!("{user} is not asked: {open:?}")).clone()).collect()
    }

    /// The submission once a condition holds for it.
    pub(crate) async fn when(&self, id: &str, what: &str, holds: impl Fn(&Submission) -> bool) -> Submission {
        until(what, || async { Some(self.get(id).await).filter(&holds) }).await
    }

    pub(crate) async fn when_it_is(&self, id: &str, status: SubmissionStatus) -> Submission {
        let what = format!("submission {id} to be {status:?}");
        self.when(id, &what, |submission| submission.status() == status).await
    }

    /// The open work item of a submission, once there is one.
    pub(crate) async fn item_of(&self, id: &str) -> WorkItem {
        let filter = format!("submission = {id} AND status = ASSIGNED");
        let request = v1::WorkItemServiceListRequest { filter, ..Default::default() };
        until("a work item", || async {
            self.work_items().list(request.clone()).await.unwrap().into_inner().work_items.pop()
        })
        .await
    }

    pub(crate) async fn task_queues(&self) -> Vec<v1::TaskQueue> {
        let mut request = v1::JobServiceListTaskQueuesRequest { page_size: 2, ..Default::default() };
        let mut queues = Vec::new();
        loop {
            let page = self.jobs().list_task_queues(request.clone()).await.unwrap().into_inner();
            queues.extend(page.task_queues);
            if page.next_page_token.is_empty() {
                return queues;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// A task queue, once it is known how many consumers it has: a broker that does not answer in time leaves that open.
    pub(crate) async fn task_queue(&self, name: &str) -> v1::TaskQueue {
        until("the count of the consumers", || async {
            let queue = self.task_queues().await.into_iter().find(|queue| queue.name == name).unwrap();
            queue.consumers.is_some().then_some(queue)
        })
        .await
    }

    /// What waits for the caller.
    pub(crate) async fn inbox(&self) -> Vec<WorkItem> {
        self.try_inbox().await.unwrap()
    }

    pub(crate) async fn try_inbox(&self) -> Result<Vec<WorkItem>, Status> {
        let request = v1::WorkItemServiceListRequest { page_size: 500, ..Default::default() };
        Ok(self.work_items().list(request).await?.into_inner().work_items)
    }

    pub(crate) async fn decide(&self, decision: v1::WorkItemServiceDecideRequest) -> Result<WorkItem, Status> {
        Ok(self.work_items().decide(decision).await?.into_inner().work_item.unwrap())
    }

    pub(crate) async fn approve(&self, item: &WorkItem) -> WorkItem {
        self.decide(decision(item, Verdict::Approve, "", "")).await.unwrap()
    }

    pub(crate) async fn batch_decide(
        &self,
        decisions: Vec<v1::WorkItemServiceDecideRequest>,
        request_id: &str,
    ) -> Result<Vec<BatchDecideResult>, Status> {
        let request = v1::WorkItemServiceBatchDecideRequest { decisions, request_id: request_id.to_owned() };
        Ok(self.work_items().batch_decide(request).await?.into_inner().results)
    }

    pub(crate) async fn watch(&self, id: &str) -> Watch {
        let request = v1::SubmissionServiceWatchRequest { id: id.to_owned() };
        Watch(self.submissions().watch(request).await.unwrap().into_inner())
    }

    pub(crate) async fn events(&self, id: &str) -> Vec<Event> {
        let request =
            v1::SubmissionServiceListEventsRequest { id: id.to_owned(), page_size: 500, ..Default::default() };
        self.submissions().list_events(request).await.unwrap().into_inner().events
    }

    pub(crate) async fn apply_directory(&self, definition: &str) {
        let request = v1::DirectoryServiceApplyRequest { definition: definition.to_owned(), ..Default::default() };
        self.directory().apply(request).await.unwrap();
    }

    pub(crate) async fn publish_flows(&self, definitions: &str) {
        for definition in definitions.split("\n---") {
            let request = v1::FlowServicePublishRequest {
                definition: definition.to_owned(),
                activate: true,
                ..Default::default()
            };
            self.flows().publish(request).await.unwrap();
        }
    }

    pub(crate) async fn publish_calendar(&self, definition: &str) -> Result<v1::Calendar, Status> {
        let request = v1::CalendarServicePublishRequest {
            definition: definition.to_owned(),
            activate: true,
            ..Default::default()
        };
        Ok(self.calendars().publish(request).await?.into_inner().calendar.unwrap())
    }

    pub(crate) async fn publish_process(&self, definition: &str) {
        self.processes().publish(publish(definition)).await.unwrap_or_else(|status| panic!("{:?}", fields(&status)));
    }
}

/// A stream of a submission's states.
pub(crate) struct Watch(Streaming<v1::SubmissionServiceWatchResponse>);

impl Watch {
    /// The next state; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Submission> {
        let next = within("the next state of a watch", self.0.message()).await.unwrap()?;
        Some(next.submission.unwrap())
    }

    /// The states up to the first that fits.
    pub(crate) async fn up_to(&mut self, fits: impl Fn(&Submission) -> bool) -> Vec<Submission> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next().await.expect("the watch ended before the state that was waited for"));
            if seen.last().is_some_and(&fits) {
                return seen;
            }
        }
    }
}

pub(crate) fn submit(process: &str, request_id: &str, data: &Value) -> v1::SubmissionServiceSubmitRequest {
    let data = Some(value::from_json(data));
    v1::SubmissionServiceSubmitRequest {
        process: process.to_owned(),
        record: Some(v1::Record { id: "R-1".to_owned(), data, ..Default::default() }),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn decision(
    item: &WorkItem,
    verdict: Verdict,
    comment: &str,
    request_id: &str,
) -> v1::WorkItemServiceDecideRequest {
    v1::WorkItemServiceDecideRequest {
        id: item.id.clone(),
        verdict: verdict.into(),
        comment: comment.to_owned(),
        record_digest: item.record_digest.clone(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn publish(definition: &str) -> v1::ProcessServicePublishRequest {
    v1::ProcessServicePublishRequest { definition: definition.to_owned(), activate: true, ..Default::default() }
}

/// The stable reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("a refusal without a reason: {status:?}"));
    assert_eq!(info.domain, "quorate");
    info.reason
}

/// The code and the stable reason of a call that has to be refused.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason(&status))
}

/// What a refusal says of itself.
pub(crate) fn facts(status: &Status) -> BTreeMap<String, String> {
    status.get_details_error_info().unwrap().metadata.into_iter().collect()
}

/// The fields that a refusal is about.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
