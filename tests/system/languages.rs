//! The workers of `examples/workers`, which are written in other languages, with the flows of the purchase example.

use std::{
    fs,
    time::{Duration, Instant},
};

use quorate::proto::v1::{EmittedEvent, Job, JobEffect, JobError, JobReport, SubmissionStatus};
use quorate_engine::event::{Event, EventKind};
use serde_json::{Value, json};

use crate::{
    audit::{all_submissions, each_result_was_applied_once, kinds, open_jobs, verified_history},
    backend::{Backend, Broker},
    definitions::purchase,
    queue_support::{Corner, amqp_url, until},
    system::System,
    workers::{Source, Way, in_every_language, orders, project, running},
};

/// Longer than [`HEARTBEAT`]: whoever is silent for so long has failed.
const LONGER_THAN_THE_HEARTBEAT: Duration = Duration::from_secs(20);

/// For a worker that has to keep its attempt: it may be late by ten seconds on a loaded machine, with signs of life that come three times
/// as often.
const HEARTBEAT: &str = "heartbeat: 15s";

/// An order that may take long, as long as it gives signs of life. Nobody decides.
const ORDER: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: order
allow_no_approvals: true
record:
  type: order
  schema:
    type: object
    properties: { vendor: { type: string }, amount: { type: number } }
stages:
  - name: book
    steps:
      - name: create_order
        background:
          flow: create-order
          execution: async
          input: { vendor: record.vendor, amount: record.amount }
          heartbeat: 6s
    next: [{ to: end }]
";

/// The attempts whose result was applied.
fn completed_attempts(events: &[Event]) -> Vec<u32> {
    let attempt = |event: &Event| match event.kind {
        EventKind::JobCompleted { attempt, .. } => Some(attempt),
        _ => None,
    };
    events.iter().filter_map(attempt).collect()
}

fn failed_attempts(events: &[Event]) -> Vec<u32> {
    let attempt = |event: &Event| match event.kind {
        EventKind::JobAttemptFailed { attempt, .. } | EventKind::JobFailed { attempt, .. } => Some(attempt),
        _ => None,
    };
    events.iter().filter_map(attempt).collect()
}

/// A job as a server publishes it.
fn job(flow: &str) -> Job {
    Job {
        job: uuid::Uuid::now_v7().to_string(),
        attempt: 1,
        token: "secret".to_owned(),
        kind: "AUTOLAUNCHED".to_owned(),
        flow: flow.to_owned(),
        task_queue: "default".to_owned(),
        ..Job::default()
    }
}

fn source(corner: &Corner) -> Source {
    Source::Amqp { url: amqp_url(), prefix: corner.prefix.clone() }
}

async fn next_report(corner: &Corner) -> Value {
    let message = until("a report", || async { corner.get(&corner.names.results_queue()).await }).await;
    serde_json::from_slice(&message.delivery.data).unwrap()
}

fn failures<'a>(events: &'a [Event], code: &str) -> Vec<&'a Event> {
    let has_code = |event: &&Event| match &event.kind {
        EventKind::JobAttemptFailed { code: of, .. } | EventKind::JobFailed { code: of, .. } => of == code,
        _ => false,
    };
    events.iter().filter(has_code).collect()
}

fn fits(schema: &str, body: &Value) {
    let text = fs::read_to_string(project().join("proto/schema").join(schema)).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{schema}: {errors:?}: {body}");
}

in_every_language! {
    async fn a_worker_carries_out_the_example_with_its_failures(way: Way, backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let erp = tempfile::tempdir().unwrap();
        let worker = way.start(&Source::of(&system), erp.path(), &[]).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));

        // Nobody can say what the budget is, until somebody can. The answer waits for it.
        let opened = async {
            until("a failed attempt", || async {
                let submitted = all_submissions(&system.store).await.pop()?;
                let events = verified_history(&system.store, &submitted).await;
                (!failures(&events, "BUDGET_DOWN").is_empty()).then_some(())
            })
            .await;
            fs::write(erp.path().join("budget"), "1000").unwrap();
        };
        let (retried, ()) = tokio::join!(ann.submit("purchase-request", purchase(50.0)), opened);
        let retried = retried.id;
        bob.approve(&ann.item_of(&retried).await).await;
        ann.when_it_is(&retried, SubmissionStatus::Approved).await;

        // Without any failure it is as with the worker in Rust.
        let smooth = ann.submit("purchase-request", purchase(50.0)).await.id;
        bob.approve(&ann.item_of(&smooth).await).await;
        let ended = ann.when_it_is(&smooth, SubmissionStatus::Approved).await;
        assert_eq!(orders(erp.path()).len(), 2, "an order for each");
        let order = ended.stages.iter().flat_map(|stage| &stage.steps).find(|step| step.name == "create_order").unwrap();
        let outputs = quorate::proto::value::to_json(order.outputs.as_ref().unwrap(), "").unwrap();
        assert!(outputs["order"].as_str().unwrap().starts_with("PO-"), "{outputs}");
        let events = verified_history(&system.store, &smooth).await;
        each_result_was_applied_once(&events);

        // What does not get better is not tried again.
        fs::write(erp.path().join("blocked"), "EVIL\n").unwrap();
        let refused = ann.submit("purchase-request", json!({ "vendor": "EVIL", "amount": 50 })).await.id;
        bob.approve(&ann.item_of(&refused).await).await;
        ann.when_it_is(&refused, SubmissionStatus::Error).await;
        let failed = verified_history(&system.store, &refused).await;
        assert!(matches!(
            failures(&failed, "VENDOR_BLOCKED").as_slice(),
            [Event { kind: EventKind::JobFailed { attempt: 1, .. }, .. }]
        ));

        assert!(worker.stop().await.success(), "it ends in good order");
        system.start_own_worker();
        let in_rust = ann.submit("purchase-request", purchase(50.0)).await.id;
        bob.approve(&ann.item_of(&in_rust).await).await;
        ann.when_it_is(&in_rust, SubmissionStatus::Approved).await;
        let without_starts = |events: &[Event]| {
            // Short jobs of the worker in Rust do not say that they start.
            kinds(events).into_iter().filter(|kind| kind != "JOB_STARTED").collect::<Vec<_>>()
        };
        assert_eq!(without_starts(&events), without_starts(&verified_history(&system.store, &in_rust).await));
        system.end().await;
    }

    async fn a_long_job_lives_by_heartbeats_and_outlives_its_worker(way: Way, backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_process(&ORDER.replace("heartbeat: 6s", HEARTBEAT)).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let mut first = way.start(&Source::of(&system), erp.path(), &[]).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let job = until("a running job", || running(&admin)).await;
        let since = Instant::now();
        until("more than the heartbeat's time", || async {
            (since.elapsed() > LONGER_THAN_THE_HEARTBEAT).then_some(())
        })
        .await;
        let lives = running(&admin).await.expect("it still runs");
        assert_eq!((&lives.job, lives.attempt), (&job.job, 1), "its heartbeats keep the first attempt alive");

        first.kill();
        let second = way.start(&Source::of(&system), erp.path(), &[]).await;
        fs::remove_file(erp.path().join("closed")).unwrap();
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(orders(erp.path()), [job.job]);
        each_result_was_applied_once(&verified_history(&system.store, &id).await);
        assert_eq!(open_jobs(&system.store).await, []);
        assert!(second.stop().await.success());
        system.end().await;
    }

    async fn a_server_or_broker_that_is_away_is_waited_for(way: Way, backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        // However long it is away, the attempt stays the first.
        admin.publish_process(&ORDER.replace("heartbeat: 6s", "timeout: 1h")).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let (source, wire) = Source::over_a_wire(&system).await;
        let mut worker = way.start(&source, erp.path(), &[]).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let job = until("a running job", || running(&admin)).await;

        wire.cut();
        worker.said("that it lost its connection", |line| line.contains("is away").then_some(())).await;
        fs::remove_file(erp.path().join("closed")).unwrap();
        until("the order", || async { (orders(erp.path()) == [job.job.clone()]).then_some(()) }).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::InProgress, "nobody knows that the job is done");
        wire.mend();

        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let events = verified_history(&system.store, &id).await;
        each_result_was_applied_once(&events);
        assert_eq!(completed_attempts(&events), [1]);
        // And it goes on working.
        let next = ann.submit("order", purchase(60.0)).await.id;
        ann.when_it_is(&next, SubmissionStatus::Approved).await;
        assert!(worker.stop().await.success());
        system.end().await;
    }

    async fn who_is_asked_to_stop_ends_what_runs(way: Way, backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_process(&ORDER.replace("heartbeat: 6s", "timeout: 1h")).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let first = way.start(&Source::of(&system), erp.path(), &[]).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let job = until("a running job", || running(&admin)).await;
        first.signal("TERM");
        fs::remove_file(erp.path().join("closed")).unwrap();
        assert!(first.end().await.success(), "it ends in good order");
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(completed_attempts(&verified_history(&system.store, &id).await), [1]);
        assert_eq!(orders(erp.path()), [job.job]);
        system.end().await;
    }

    async fn who_is_stopped_in_the_middle_of_a_long_job_says_so(way: Way, backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_process(&ORDER.replace("heartbeat: 6s", "timeout: 1h")).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let variables = [("QUORATE_ACKNOWLEDGE_AFTER", "0.1"), ("QUORATE_GRACE", "0.1")];
        let mut first = way.start(&Source::of(&system), erp.path(), &variables).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let job = until("a running job", || running(&admin)).await;
        if system.backend.broker.is_some() {
            first.said("that it acknowledged it", |line| line.contains("lives by its heartbeats").then_some(())).await;
        }
        assert!(first.stop().await.success());
        until("the end of its attempt", || async {
            let events = verified_history(&system.store, &id).await;
            (!failures(&events, "WORKER_STOPPED").is_empty()).then_some(())
        })
        .await;
        fs::remove_file(erp.path().join("closed")).unwrap();
        let second = way.start(&Source::of(&system), erp.path(), &[]).await;
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(orders(erp.path()), [job.job]);
        assert!(second.stop().await.success());
        system.end().await;
    }

    async fn a_result_that_comes_after_its_attempt_is_refused(way: Way, backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_process(ORDER).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let first = way.start(&Source::of(&system), erp.path(), &[]).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let job = until("a running job", || running(&admin)).await;
        first.signal("STOP");
        until("the end of its attempt", || async {
            let attempts = failed_attempts(&verified_history(&system.store, &id).await);
            attempts.contains(&job.attempt).then_some(())
        })
        .await;
        // It wakes up, ends its job, and stops: what it says is told before the next attempt begins.
        fs::remove_file(erp.path().join("closed")).unwrap();
        first.signal("TERM");
        first.signal("CONT");
        assert!(first.end().await.success());

        let second = way.start(&Source::of(&system), erp.path(), &[]).await;
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let events = verified_history(&system.store, &id).await;
        each_result_was_applied_once(&events);
        let completed = completed_attempts(&events);
        assert!(completed[0] > job.attempt, "the result of attempt {} counted: {completed:?}", job.attempt);
        assert!(second.stop().await.success());
        system.end().await;
    }
}

// Without a server: the test is on the other side of the broker.
in_every_language! {
    async fn what_is_published_and_what_a_worker_reports_fits_the_schemas(way: Way) {
        let broker = Broker::shared().await;
        let corner = broker.corner();
        // Declares the queues, as a server does.
        drop(corner.queue().await);
        let erp = tempfile::tempdir().unwrap();
        let worker = way.start(&source(corner), erp.path(), &[]).await;
        let jobs = corner.names.jobs_queue("default");
        corner.put(&jobs, b"{ \"job\": 7").await;
        corner.put(&jobs, br#"{ "job": "a job without a token" }"#).await;
        for _ in 0..2 {
            corner.next_dead().await;
        }
        let mut job = job("release-budget");
        for (flow, status) in [("release-budget", "COMPLETED"), ("nobody-knows", "FAILED")] {
            flow.clone_into(&mut job.flow);
            let body = quorate::proto::to_json(&job).unwrap();
            fits("job.schema.json", &serde_json::from_slice(&body).unwrap());
            corner.put(&jobs, &body).await;
            for expected in ["STARTED", status] {
                let report = next_report(corner).await;
                fits("report.schema.json", &report);
                assert_eq!(report["status"], expected);
                assert_eq!((&report["job"], &report["token"]), (&json!(job.job), &json!("secret")));
            }
        }
        assert!(worker.stop().await.success());
        corner.clean_up(&["default", "erp"]).await;
    }

    async fn a_long_job_is_acknowledged_before_its_end(way: Way) {
        let broker = Broker::shared().await;
        let corner = broker.corner();
        drop(corner.queue().await);
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let mut worker = way.start(&source(corner), erp.path(), &[("QUORATE_ACKNOWLEDGE_AFTER", "0.5")]).await;
        let jobs = corner.names.jobs_queue("erp");
        let heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 900_000_000 });
        let long = Job { heartbeat_interval, input: Some(prost_types::Struct::default()), ..job("create-order") };
        corner.put(&jobs, &quorate::proto::to_json(&long).unwrap()).await;
        worker.said("that it acknowledged the job", |line| line.contains("lives by its heartbeats").then_some(())).await;
        // A report that was begun after that tells that the broker has seen the acknowledgement: the second from now, for the next
        // may have been under way.
        while corner.get(&corner.names.results_queue()).await.is_some() {}
        for _ in 0..2 {
            assert_eq!(next_report(corner).await["status"], "HEARTBEAT");
        }
        worker.kill();
        until("the broker to see its end", || async { (corner.consumers(&jobs).await == 0).then_some(()) }).await;
        assert_eq!(corner.count(&jobs).await, 0, "the broker gives back what was not acknowledged");
        corner.clean_up(&["default", "erp"]).await;
    }

    async fn a_long_job_keeps_its_place_when_it_is_acknowledged(way: Way) {
        let broker = Broker::shared().await;
        let corner = broker.corner();
        drop(corner.queue().await);
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        // One place for each of its two task queues.
        let variables = [("QUORATE_ACKNOWLEDGE_AFTER", "0.5"), ("QUORATE_CONCURRENCY", "2")];
        let worker = way.start(&source(corner), erp.path(), &variables).await;
        let jobs = corner.names.jobs_queue("erp");
        let input = json!({ "vendor": "ACME", "amount": 50 });
        let order = || Job { input: Some(quorate::proto::value::from_json(&input)), ..job("create-order") };
        let (long, next) = (order(), order());
        corner.put(&jobs, &quorate::proto::to_json(&long).unwrap()).await;
        assert_eq!(next_report(corner).await["status"], "STARTED");
        until("the consumer's end", || async { (corner.consumers(&jobs).await == 0).then_some(()) }).await;
        corner.put(&jobs, &quorate::proto::to_json(&next).unwrap()).await;
        assert_eq!(corner.count(&jobs).await, 1, "it waits where other workers can take it");

        fs::remove_file(erp.path().join("closed")).unwrap();
        for (job, status) in [(&long, "COMPLETED"), (&next, "STARTED"), (&next, "COMPLETED")] {
            let report = next_report(corner).await;
            assert_eq!((&report["job"], &report["status"]), (&json!(job.job), &json!(status)), "{report}");
        }
        until("its place", || async { (corner.consumers(&jobs).await == 1).then_some(()) }).await;
        assert!(worker.stop().await.success());
        corner.clean_up(&["default", "erp"]).await;
    }

    async fn two_copies_of_a_job_are_carried_out_once_and_both_acknowledged(way: Way) {
        let broker = Broker::shared().await;
        let corner = broker.corner();
        drop(corner.queue().await);
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let worker = way.start(&source(corner), erp.path(), &[("QUORATE_CONCURRENCY", "4")]).await;
        let jobs = corner.names.jobs_queue("erp");
        let input = Some(quorate::proto::value::from_json(&json!({ "vendor": "ACME", "amount": 50 })));
        let body = quorate::proto::to_json(&Job { input, ..job("create-order") }).unwrap();
        corner.put(&jobs, &body).await;
        corner.put(&jobs, &body).await;
        assert_eq!(next_report(corner).await["status"], "STARTED");
        // Of its two places one holds the job, and this one comes to the other behind the copy.
        let behind = job("release-budget");
        corner.put(&jobs, &quorate::proto::to_json(&behind).unwrap()).await;
        for status in ["STARTED", "COMPLETED"] {
            let report = next_report(corner).await;
            assert_eq!((&report["job"], &report["status"]), (&json!(behind.job), &json!(status)), "{report}");
        }
        fs::remove_file(erp.path().join("closed")).unwrap();
        assert_eq!(next_report(corner).await["status"], "COMPLETED");
        assert!(worker.stop().await.success());
        until("the broker to see its end", || async { (corner.consumers(&jobs).await == 0).then_some(()) }).await;
        assert_eq!(corner.count(&jobs).await, 0, "the broker gives back what was not acknowledged");
        assert!(corner.get(&corner.names.results_queue()).await.is_none(), "it ran once");
        corner.clean_up(&["default", "erp"]).await;
    }

    async fn a_long_job_that_cannot_end_is_handed_back(way: Way) {
        let broker = Broker::shared().await;
        let corner = broker.corner();
        drop(corner.queue().await);
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let variables = [("QUORATE_ACKNOWLEDGE_AFTER", "0.5"), ("QUORATE_GRACE", "0.5")];
        let mut worker = way.start(&source(corner), erp.path(), &variables).await;
        let long = Job { input: Some(prost_types::Struct::default()), ..job("create-order") };
        corner.put(&corner.names.jobs_queue("erp"), &quorate::proto::to_json(&long).unwrap()).await;
        assert_eq!(next_report(corner).await["status"], "STARTED");
        worker.said("that it acknowledged the job", |line| line.contains("lives by its heartbeats").then_some(())).await;
        assert!(worker.stop().await.success());
        let report = next_report(corner).await;
        assert_eq!((&report["status"], &report["error"]["code"]), (&json!("FAILED"), &json!("WORKER_STOPPED")));
        assert_eq!(report["error"]["retryable"], true);
        corner.clean_up(&["default", "erp"]).await;
    }
}

/// The names of a schema's properties, sorted.
fn properties(schema: &Value) -> Vec<String> {
    let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[test]
fn the_schema_of_reports_refuses_what_the_server_refuses() {
    let text = fs::read_to_string(project().join("proto/schema/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let report = |status: &str, comment: &str| {
        let report = json!({ "job": uuid::Uuid::nil().to_string(), "attempt": 1, "token": "secret", "status": status });
        let mut report = report.as_object().unwrap().clone();
        report.insert("error".to_owned(), json!({ "code": "ERP_DOWN" }));
        report.insert("effects".to_owned(), json!([{ "comment": comment }]));
        Value::Object(report)
    };
    assert!(validator.is_valid(&report("COMPLETED", "ordered")));
    for status in ["STARTED", "HEARTBEAT", "FAILED"] {
        assert!(!validator.is_valid(&report(status, "ordered")), "{status} has no effects");
    }
    for comment in ["", "  ", &"x".repeat(4001)] {
        assert!(!validator.is_valid(&report("COMPLETED", comment)), "{comment:?}");
    }
}

fn field_names<M: prost::Name>() -> Vec<String> {
    let pool = prost_reflect::DescriptorPool::decode(quorate::proto::DESCRIPTORS).unwrap();
    let message = pool.get_message_by_name(&M::full_name()).unwrap();
    let mut names: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_schemas_and_the_messages_have_the_same_fields() {
    let read = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(project().join("proto/schema").join(name)).unwrap()).unwrap()
    };
    let report = read("report.schema.json");
    assert_eq!(properties(&read("job.schema.json")), field_names::<Job>());
    assert_eq!(properties(&report), field_names::<JobReport>());
    assert_eq!(properties(&report["$defs"]["JobError"]), field_names::<JobError>());
    assert_eq!(properties(&report["$defs"]["JobEffect"]), field_names::<JobEffect>());
    assert_eq!(properties(&report["$defs"]["EmittedEvent"]), field_names::<EmittedEvent>());
}
