//! Declarative flows through a real server and worker, calling a service of the test.

use quorate::proto::v1::{FlowServicePublishRequest, StepRunStatus, SubmissionStatus};
use quorate_engine::event::{EmittedEvent, EventKind};
use quorate_worker::workflow::Workflows;
use serde_json::json;
use tonic::Code;

use crate::{
    approvals::step,
    audit::verified_history,
    backend::Backend,
    caller::refused,
    on_every_backend,
    service::{Answers, Service, header},
    system::System,
};

/// An order in the ERP, which is tried again while it says that it is busy.
fn flows(address: &str) -> String {
    format!(
        "\
apiVersion: quorate/v1
kind: Flow
name: create-order
type: autolaunched
input: {{ type: object, required: [amount] }}
output: {{ type: object, required: [order] }}
workflow:
  document: {{ dsl: '1.0.3', namespace: purchasing, name: create-order, version: '1.0.0' }}
  do:
    - order:
        try:
          - post:
              call: http
              with:
                method: post
                endpoint: http://{address}/orders
                headers: {{ Idempotency-Key: '${{ $workflow.id }}' }}
                body: {{ amount: '${{ .amount }}' }}
        catch:
          errors: {{ with: {{ status: 503 }} }}
          retry:
            delay: {{ milliseconds: 1 }}
            limit: {{ attempt: {{ count: 3 }} }}
    - answer:
        set: {{ order: '${{ .number }}', attempt: '${{ $runtime.metadata.attempt }}' }}
---
apiVersion: quorate/v1
kind: Flow
name: over-budget
type: autolaunched
workflow:
  document: {{ dsl: '1.0.3', namespace: purchasing, name: over-budget, version: '1.0.0' }}
  do:
    - refuse:
        raise: {{ error: {{ type: https://example.com/errors/over-budget, status: 400, title: Over budget }} }}
"
    )
}

const BUYING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: buying
record: { type: purchase, schema: { type: object, properties: { amount: { type: number } } } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: create_order, background: { flow: create-order, input: { amount: record.amount } } }
";

const REFUSING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: refusing
record: { type: purchase, schema: { type: object } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: check, background: { flow: over-budget } }
";

/// An order that is noted in the record, commented and told, in the second attempt of a `try` only.
const NOTING: &str = "\
apiVersion: quorate/v1
kind: Flow
name: note-order
type: autolaunched
workflow:
  document: { dsl: '1.0.3', namespace: purchasing, name: note-order, version: '1.0.0' }
  do:
    - order:
        try:
          - say: { call: comment, with: { text: ordering } }
          - post: { call: http, with: { method: post, endpoint: http://ADDRESS/orders } }
        catch: { errors: { with: { status: 503 } }, retry: { limit: { attempt: { count: 1 } } } }
    - note: { call: updateRecord, with: { patch: { order: '${ .number }', draft: null } } }
    - tell: { emit: { event: { with: { type: com.example.order.created, source: /purchasing, data: '${ . }' } } } }
    - answer: { set: { told: '${ .type }' } }
";

const NOTED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: noted
record:
  type: purchase
  on_change: keep
  schema: { type: object, properties: { order: { type: string }, draft: { type: boolean } } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: note, background: { flow: note-order } }
";

/// A service that is busy the first time.
async fn service() -> Service {
    let busy_once: Answers =
        |nth, _| if nth == 0 { ("503 Service Unavailable", "") } else { ("201 Created", r#"{"number": "PO-1"}"#) };
    Service::start(None, busy_once).await
}

on_every_backend! {
    async fn a_flow_needs_no_code(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let service = service().await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&flows(&service.address)).await;
        admin.publish_process(BUYING).await;
        admin.publish_process(REFUSING).await;
        system.start_worker_that_runs(&Workflows::default().allow_network("127.0.0.0/8".parse().unwrap()));

        let id = ann.submit("buying", json!({ "amount": 12.5 })).await.id;
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let requests = service.requests();
        assert_eq!(requests.len(), 2, "it was busy once: {requests:?}");
        assert!(requests.iter().all(|request| request.starts_with("POST /orders HTTP/1.1\n")));
        assert!(requests[1].ends_with("{\"amount\":12.5}"), "{}", requests[1]);
        let keys: Vec<&str> = requests.iter().map(|request| header(request, "idempotency-key")).collect();
        assert_eq!(keys[0], keys[1], "the same in every attempt");
        verified_history(&system.store, &id).await;

        let id = ann.submit("refusing", json!({})).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert_eq!(step(&ended, "check"), StepRunStatus::Error);
        assert!(format!("{ended:?}").contains("OVER_BUDGET"), "{ended:?}");
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_flow_without_code_comments_changes_the_record_and_tells_others(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let service = service().await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&NOTING.replace("ADDRESS", &service.address)).await;
        admin.publish_process(NOTED).await;
        system.start_worker_that_runs(&Workflows::default().allow_network("127.0.0.0/8".parse().unwrap()));
        let id = ann.submit("noted", json!({ "draft": true })).await.id;
        let record = ann.when_it_is(&id, SubmissionStatus::Approved).await.record.unwrap();
        let data = quorate::proto::value::to_json(record.data.as_ref().unwrap(), "").unwrap();
        assert_eq!((record.version, data), (2, json!({ "order": "PO-1" })));
        let events = verified_history(&system.store, &id).await;
        let said: Vec<(&str, &str)> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Commented { by, comment } => Some((by.as_str(), comment.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(said, [("flow note-order", "ordering")], "the first attempt of the try is let go");
        let told: Vec<&EmittedEvent> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::FlowEventEmitted { event, .. } => Some(event),
                _ => None,
            })
            .collect();
        let [event] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((event.event_type.as_str(), event.source.as_deref()), ("com.example.order.created", Some("/purchasing")));
        assert_eq!(event.data, Some(json!({ "number": "PO-1" })));
        system.end().await;
    }

    async fn a_flow_calls_no_address_that_is_not_allowed(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let service = service().await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&flows(&service.address)).await;
        admin.publish_process(BUYING).await;
        system.start_worker_that_runs(&Workflows::default());
        let id = ann.submit("buying", json!({ "amount": 1 })).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert!(format!("{ended:?}").contains("CONFIGURATION"), "{ended:?}");
        assert!(service.requests().is_empty(), "nothing was sent");
        system.end().await;
    }

    async fn what_a_worker_cannot_run_is_refused_with_its_line(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let definition = flows("example.com").replacen("call: http", "call: asyncapi", 1);
        let definition = definition.split("---").next().unwrap().to_owned();
        let request =
            FlowServicePublishRequest { definition, activate: true, request_id: uuid::Uuid::now_v7().to_string() };
        let answer = admin.flows().publish(request).await;
        let message = format!("{answer:?}");
        assert_eq!(refused(answer), (Code::InvalidArgument, "DEFINITION_INVALID".to_owned()));
        assert!(message.contains("`call: asyncapi` is not supported"), "{message}");
        system.end().await;
    }
}
