//! The workers of `examples/workers`, which are written in other languages, with the flows of the purchase example.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use quorate::proto::v1::{Job, JobError, JobReport, JobServiceListRequest, JobStatus, SubmissionStatus};
use quorate_engine::event::{Event, EventKind};
use serde_json::{Value, json};

use crate::{
    audit::{each_result_was_applied_once, open_jobs, verified_history},
    backend::Backend,
    definitions::purchase,
    on_every_backend,
    program::{Program, printed},
    queue_support::{Corner, until},
    system::System,
};

/// Longer than the heartbeat of `ORDER`: whoever is silent for so long has failed.
const LONGER_THAN_THE_HEARTBEAT: Duration = Duration::from_secs(9);

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

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A worker in Python, over the broker where there is one.
async fn start_worker(system: &System, erp: &Path) -> Program {
    if let Some(broker) = &system.backend.broker {
        return start_amqp_worker(&broker.url, &broker.prefix, erp).await;
    }
    let mut command = python("grpc_worker.py", erp);
    command.env("QUORATE_SERVER", format!("http://{}", system.server.address));
    serving(command.env("QUORATE_TOKEN", system.token("worker"))).await
}

async fn start_amqp_worker(url: &str, prefix: &str, erp: &Path) -> Program {
    let mut command = python("amqp_worker.py", erp);
    serving(command.env("QUORATE_AMQP_URL", url).env("QUORATE_AMQP_PREFIX", prefix)).await
}

fn python(script: &str, erp: &Path) -> Command {
    printed(Command::new("bash").arg(project().join("scripts/install-workers.sh")));
    let mut command = Command::new(project().join("target/workers/python/bin/python"));
    command.arg(project().join("examples/workers/python").join(script));
    command.env("ERP_FOLDER", erp).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command
}

async fn serving(command: &mut Command) -> Program {
    let command = std::mem::replace(command, Command::new(PathBuf::new()));
    let mut program = Program::start("the worker in Python", command);
    program.said("that it serves", |line| line.contains("serving").then_some(())).await;
    program
}

/// The kinds of a history's events.
fn kinds(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.kind.to_parts().0).collect()
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

on_every_backend! {
    async fn a_worker_in_python_carries_out_the_example_with_its_failures(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let erp = tempfile::tempdir().unwrap();
        let worker = start_worker(&system, erp.path()).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));

        // Nobody can say what the budget is, until somebody can.
        let retried = ann.submit("purchase-request", purchase(50.0)).await.id;
        until("a failed attempt", || async {
            let events = verified_history(&system.store, &retried).await;
            (!failures(&events, "BUDGET_DOWN").is_empty()).then_some(())
        })
        .await;
        fs::write(erp.path().join("budget"), "1000").unwrap();
        bob.approve(&ann.item_of(&retried).await).await;
        ann.when_it_is(&retried, SubmissionStatus::Approved).await;

        // Without any failure it is as with the worker in Rust.
        let smooth = ann.submit("purchase-request", purchase(50.0)).await.id;
        bob.approve(&ann.item_of(&smooth).await).await;
        let ended = ann.when_it_is(&smooth, SubmissionStatus::Approved).await;
        let orders = fs::read_dir(erp.path().join("orders")).unwrap().count();
        assert_eq!(orders, 2, "an order for each");
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

    async fn a_long_job_of_a_worker_in_python_lives_by_heartbeats_and_outlives_it(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_process(ORDER).await;
        let erp = tempfile::tempdir().unwrap();
        fs::write(erp.path().join("closed"), "").unwrap();
        let mut first = start_worker(&system, erp.path()).await;
        let id = ann.submit("order", purchase(50.0)).await.id;
        let running = || async {
            let jobs = admin.jobs().list(JobServiceListRequest::default()).await.unwrap().into_inner().jobs;
            jobs.into_iter().find(|job| job.status() == JobStatus::Running)
        };
        let job = until("a running job", running).await;
        let since = Instant::now();
        until("more than the heartbeat's time", || async {
            (since.elapsed() > LONGER_THAN_THE_HEARTBEAT).then_some(())
        })
        .await;
        let lives = running().await.expect("it still runs");
        assert_eq!((&lives.job, lives.attempt), (&job.job, 1), "its heartbeats keep the first attempt alive");

        first.kill();
        let second = start_worker(&system, erp.path()).await;
        fs::remove_file(erp.path().join("closed")).unwrap();
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let orders = fs::read_dir(erp.path().join("orders")).unwrap().map(|order| order.unwrap().file_name());
        assert_eq!(orders.collect::<Vec<_>>(), [job.job.as_str()]);
        each_result_was_applied_once(&verified_history(&system.store, &id).await);
        assert_eq!(open_jobs(&system.store).await, []);
        assert!(second.stop().await.success());
        system.end().await;
    }
}

/// Without a server: what is on the broker is what the schemas say.
#[tokio::test]
async fn what_is_published_and_what_a_worker_reports_fits_the_schemas() {
    let corner = Corner::new().await;
    // Declares the queues, as a server does.
    drop(corner.queue().await);
    let erp = tempfile::tempdir().unwrap();
    let worker = start_amqp_worker(&crate::queue_support::amqp_url(), &corner.prefix, erp.path()).await;
    let jobs = corner.names.jobs_queue("default");
    corner.put(&jobs, b"{ \"job\": 7").await;
    corner.put(&jobs, br#"{ "job": "a job without a token" }"#).await;
    for _ in 0..2 {
        corner.next_dead().await;
    }
    let mut job = Job {
        job: uuid::Uuid::now_v7().to_string(),
        attempt: 1,
        token: "secret".to_owned(),
        kind: "AUTOLAUNCHED".to_owned(),
        flow: "release-budget".to_owned(),
        task_queue: "default".to_owned(),
        ..Job::default()
    };
    for (flow, status) in [("release-budget", "COMPLETED"), ("nobody-knows", "FAILED")] {
        flow.clone_into(&mut job.flow);
        let body = quorate::proto::to_json(&job).unwrap();
        fits("job.schema.json", &serde_json::from_slice(&body).unwrap());
        corner.put(&jobs, &body).await;
        for expected in ["STARTED", status] {
            let message = until("a report", || async { corner.get(&corner.names.results_queue()).await }).await;
            let report: Value = serde_json::from_slice(&message.delivery.data).unwrap();
            fits("report.schema.json", &report);
            assert_eq!(report["status"], expected);
            assert_eq!((&report["job"], &report["token"]), (&json!(job.job), &json!("secret")));
        }
    }
    assert!(worker.stop().await.success());
    corner.clean_up(&["default", "erp"]).await;
}

/// The names of a schema's properties, sorted.
fn properties(schema: &Value) -> Vec<String> {
    let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
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
}
