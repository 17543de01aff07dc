//! What flows do to their submissions besides returning: with the result, once, or not at all.

use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use quorate::proto::{
    v1::{EmittedEvent, JobEffect, JobReport, SubmissionStatus, job_effect::Effect},
    value,
};
use quorate_engine::event::{Event, EventKind};
use quorate_worker::{FlowError, JobContext};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    audit::{each_result_was_applied_once, verified_history},
    backend::Backend,
    caller::{fields, reason},
    jobs::{completed, delete_task_queue, next, report, stream},
    on_every_backend,
    queue_support::until,
    system::System,
};

/// A step of the flow that the stock workers do not serve, and a record that it may change.
const ORDER: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: order
allow_no_approvals: true
record:
  type: order
  on_change: keep
  schema:
    type: object
    properties: { amount: { type: number }, order: { type: string } }
stages:
  - name: work
    steps: [{ name: order, background: { flow: orphan, execution: async, retry: { initial_interval: 10ms } } }]
    next: [{ to: end }]
";

fn effect(effect: Effect) -> JobEffect {
    JobEffect { effect: Some(effect) }
}

fn patch(data: &Value) -> JobEffect {
    effect(Effect::RecordPatch(value::from_json(data)))
}

fn comments(events: &[Event]) -> Vec<(&str, &str)> {
    events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Commented { by, comment } => Some((by.as_str(), comment.as_str())),
            _ => None,
        })
        .collect()
}

/// A queue of one's own for what flows tell, where there is a broker.
async fn listener(system: &System) -> Option<String> {
    let corner = system.backend.broker.as_ref()?.corner();
    // Exclusive: it leaves with the connection of the test.
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = corner.channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let queue = queue.name().to_string();
    let (exchange, options) = (corner.names.events_exchange(), QueueBindOptions::default());
    let key = "flow.com.example.#";
    corner
        .channel
        .queue_bind(queue.as_str().into(), exchange.into(), key.into(), options, FieldTable::default())
        .await
        .unwrap();
    Some(queue)
}

on_every_backend! {
    async fn effects_are_applied_with_the_result_exactly_once(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann, worker) = (system.caller("admin"), system.caller("ann"), system.caller("worker"));
        admin.publish_process(ORDER).await;
        let mut jobs = stream(&worker).await;
        let told = listener(&system).await;
        let id = ann.submit("order", json!({ "amount": 5 })).await.id;
        let job = next(&mut jobs).await;

        let good = effect(Effect::Comment("ordered".to_owned()));
        let event = EmittedEvent {
            r#type: "com.example.ordered".to_owned(),
            subject: "PO-1".to_owned(),
            data: Some(value::value_from_json(&json!({ "order": "PO-1" }))),
            ..EmittedEvent::default()
        };
        let effects = vec![good, patch(&json!({ "order": "PO-1" })), effect(Effect::Event(event))];
        let whole = JobReport { effects, ..completed(&job) };
        if let Some(broker) = &system.backend.broker {
            broker.corner().put_report(&whole).await;
            broker.corner().put_report(&whole).await;
        } else {
            report(&worker, whole.clone()).await.unwrap();
        }
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(reason(&report(&worker, whole).await.unwrap_err()), "ATTEMPT_NOT_LIVE");
        if let Some(broker) = &system.backend.broker {
            let results = broker.corner().names.results_queue();
            until("an empty queue of results", || async { (broker.corner().count(&results).await == 0).then_some(()) })
                .await;
        }
        let record = ended.record.unwrap();
        let data = value::to_json(record.data.as_ref().unwrap(), "").unwrap();
        assert_eq!((record.version, data), (2, json!({ "amount": 5, "order": "PO-1" })));
        let events = verified_history(&system.store, &id).await;
        each_result_was_applied_once(&events);
        assert_eq!(comments(&events), [("flow orphan", "ordered")]);

        if let Some(queue) = told {
            let corner = system.backend.broker().corner();
            let message = until("what the flow tells", || async { corner.get(&queue).await }).await;
            let body: Value = serde_json::from_slice(&message.delivery.data).unwrap();
            assert_eq!(message.delivery.routing_key.as_str(), "flow.com.example.ordered");
            assert_eq!(
                (&body["type"], &body["source"], &body["subject"], &body["data"], &body["partitionkey"]),
                (
                    &json!("com.example.ordered"),
                    &json!("/quorate/default/flows/orphan"),
                    &json!("PO-1"),
                    &json!({ "order": "PO-1" }),
                    &json!(id)
                )
            );
        }
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn of_a_result_that_cannot_be_read_nothing_is_applied_and_its_attempt_has_failed(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann, worker) = (system.caller("admin"), system.caller("ann"), system.caller("worker"));
        admin.publish_process(ORDER).await;
        let mut jobs = stream(&worker).await;
        let id = ann.submit("order", json!({ "amount": 5 })).await.id;
        let effects = ["ordered", " "].map(|comment| effect(Effect::Comment(comment.to_owned()))).to_vec();
        let unreadable = JobReport { effects, ..completed(&next(&mut jobs).await) };
        if let Some(broker) = &system.backend.broker {
            broker.corner().put_report(&unreadable).await;
            let (headers, _) = broker.corner().next_dead().await;
            assert!(headers["x-quorate-reason"].contains("effects[1].comment"), "{headers:?}");
        } else {
            let status = report(&worker, unreadable.clone()).await.unwrap_err();
            assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["report.effects[1].comment".into()]));
        }
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert!(ended.failure.unwrap().message.contains("OUTPUT_INVALID: effects[1].comment: must not be empty"));
        assert_eq!(reason(&report(&worker, unreadable).await.unwrap_err()), "ATTEMPT_NOT_LIVE");
        assert_eq!(comments(&verified_history(&system.store, &id).await), []);
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn what_a_worker_in_rust_does_to_the_submission_comes_with_its_success_only(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let ann = system.caller("ann");
        system.caller("admin").publish_process(ORDER).await;
        system.start_worker_that(|builder| {
            builder.task_queue("nobody").flow("orphan", |job: JobContext, _: Value| async move {
                job.comment(format!("attempt {}", job.attempt()))?;
                job.update_record(json!({ "order": "PO-1" }))?;
                if job.attempt() == 1 {
                    return Err(FlowError::new("ERP_DOWN", "no answer"));
                }
                job.emit(&quorate_worker::EmittedEvent::new("com.example.ordered").data(json!({ "order": "PO-1" })))?;
                Ok(json!({}))
            })
        });
        let id = ann.submit("order", json!({ "amount": 5 })).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(ended.record.unwrap().version, 2);
        let events = verified_history(&system.store, &id).await;
        assert_eq!(comments(&events), [("flow orphan", "attempt 2")]);
        let emitted = events.iter().filter(|event| matches!(event.kind, EventKind::FlowEventEmitted { .. })).count();
        assert_eq!(emitted, 1);
        system.stop_worker().await;
        delete_task_queue(&system).await;
        system.end().await;
    }
}
