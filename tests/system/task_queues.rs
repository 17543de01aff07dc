//! What happens when nobody serves a task queue is seen, and warned of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lapin::options::QueuePurgeOptions;
use quorate::proto::v1::{self, JobReport};
use quorate_engine::id::{SubmissionId, Token};
use quorate_store::query::JobQuery;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::{
    backend::Backend,
    caller::{Caller, publish},
    definitions::TASK_QUEUES,
    on_every_backend,
    program::{printed, quorate},
    queue_support::until,
    system::{System, address_in},
};

/// A job for `default`, and one for `nobody`.
const BOTH: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: both
allow_no_approvals: true
record: { type: note }
stages:
  - name: work
    steps:
      - { name: served, background: { flow: echo, execution: async } }
      - { name: unserved, background: { flow: orphan, execution: async } }
";

/// What is warned of: nothing where a broker does not answer in time, and then it is asked again, since nobody serves `nobody`.
async fn warnings(caller: &Caller) -> Vec<String> {
    let complaints = until("what is known of the workers", || async {
        let request = v1::ProcessServiceValidateRequest { definition: BOTH.to_owned() };
        let complaints = caller.processes().validate(request).await.unwrap().into_inner().complaints;
        (!complaints.is_empty()).then_some(complaints)
    })
    .await;
    assert!(complaints.iter().all(|complaint| complaint.warning), "{complaints:?}");
    complaints.into_iter().map(|complaint| format!("{} {}", complaint.line, complaint.message)).collect()
}

on_every_backend! {
    async fn a_task_queue_tells_what_waits_and_who_serves_it(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        let unserved = |line: u32, queue: &str, flow: &str| {
            format!("{line} no worker serves the task queue `{queue}` at the moment: jobs of flow `{flow}` wait for one")
        };
        assert_eq!(warnings(&admin).await, [unserved(9, "default", "echo"), unserved(10, "nobody", "orphan")]);
        let published = until("what is known of the workers", || async {
            let published = admin.processes().publish(publish(BOTH)).await.unwrap().into_inner();
            (!published.warnings.is_empty()).then_some(published)
        })
        .await;
        assert_eq!(published.warnings.len(), 2, "a warning does not keep it from being published");

        let names: Vec<String> = admin.task_queues().await.into_iter().map(|queue| queue.name).collect();
        assert!(names.is_sorted() && names.contains(&"nobody".to_owned()), "{names:?}");
        let empty = admin.task_queue("nobody").await;
        assert_eq!((empty.waiting, empty.oldest_waiting_age, empty.consumers), (0, None, Some(0)));
        assert_eq!(empty.flows, ["orphan"]);

        ann.submit("both", json!({})).await;
        ann.submit("both", json!({})).await;
        let waiting = admin.task_queue("nobody").await;
        assert_eq!((waiting.waiting, waiting.running, waiting.later, waiting.consumers), (2, 0, 0, Some(0)));
        let oldest = waiting.oldest_waiting_since.unwrap();
        until("an older job", || async {
            let now = admin.task_queue("nobody").await;
            assert_eq!(now.oldest_waiting_since.unwrap(), oldest);
            let (age, before) = (now.oldest_waiting_age.unwrap(), waiting.oldest_waiting_age.unwrap());
            ((age.seconds, age.nanos) > (before.seconds, before.nanos)).then_some(())
        })
        .await;

        system.start_own_worker();
        until("the worker", || async {
            let mut served = true;
            for name in TASK_QUEUES {
                served &= admin.task_queue(name).await.consumers != Some(0);
            }
            served.then_some(())
        })
        .await;
        until("what it serves", || async { (admin.task_queue("default").await.waiting == 0).then_some(()) }).await;
        assert_eq!(admin.task_queue("nobody").await.waiting, 2);
        assert_eq!(warnings(&admin).await, [unserved(10, "nobody", "orphan")]);

        let server = format!("http://{}", system.server.address);
        let token = system.token("auditor");
        let list = ["list", "task-queues", "--all", "--server", &server];
        let shown = printed(quorate().args(list).env("QUORATE_TOKEN", &token));
        let line = shown.lines().find(|line| line.starts_with("nobody")).unwrap();
        assert!(line.split_whitespace().any(|word| word == "orphan"), "{line}");
        let nobody = until("the count of the consumers", || async {
            let shown = printed(quorate().args(list).args(["-o", "json"]).env("QUORATE_TOKEN", &token));
            let shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
            let nobody = shown.into_iter().find(|queue| queue["name"] == "nobody").unwrap();
            (!nobody["consumers"].is_null()).then_some(nobody)
        })
        .await;
        assert_eq!((&nobody["waiting"], &nobody["consumers"]), (&json!(2), &json!(0)));

        system.stop_worker().await;
        until("its end", || async { (admin.task_queue("default").await.consumers == Some(0)).then_some(()) }).await;
        system.end().await;
    }
}

/// The only open job: how often it was published again, or was to be.
async fn deliveries(system: &System) -> u32 {
    let query = JobQuery {
        tenant: quorate::TENANT.into(),
        id: None,
        submission: None,
        task_queue: None,
        flow: None,
        status: None,
        after: None,
        limit: 2,
    };
    let jobs = system.store.list_jobs(&query).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs[0].deliveries
}

#[tokio::test]
async fn a_job_that_waits_for_a_worker_waits_once_and_comes_again_when_its_queue_was_emptied() {
    let mut system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    system.restart_server(&["--redelivery-interval", "1"]).await;
    system.caller("ann").submit("waiting", json!({})).await;
    let corner = system.backend.broker().corner();
    let queue = corner.names.jobs_queue("nobody");
    until("several looks", || async { (deliveries(&system).await >= 2).then_some(()) }).await;
    // What was looked at before would be there by the next look.
    let seen = deliveries(&system).await;
    until("another look", || async { (deliveries(&system).await > seen).then_some(()) }).await;
    assert_eq!(corner.count(&queue).await, 1);
    corner.channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
    until("the job in its queue again", || async { (corner.count(&queue).await == 1).then_some(()) }).await;
    system.end().await;
}

/// What the server shows at `/metrics`: each sample by its name and labels.
async fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("# EOF"), "{answer}");
    let samples = answer.lines().filter(|line| line.starts_with("quorate_"));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The names in the table of `docs/operations.md`.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `quorate_")?.split_once('`'));
    rows.map(|(name, _)| format!("quorate_{name}")).collect()
}

#[tokio::test]
async fn metrics_tell_what_waits_and_what_was_counted() {
    let mut system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    system.restart_server(&["--metrics-listen", "127.0.0.1:0"]).await;
    let at =
        system.server.program.said("where metrics are", |line| address_in(line, "showing metrics", "metrics=")).await;
    let (admin, ann) = (system.caller("admin"), system.caller("ann"));
    admin.publish_process(BOTH).await;
    ann.submit("both", json!({})).await;
    system.start_own_worker();
    let corner = system.backend.broker().corner();
    // One that cannot be read, and one whose attempt is nobody's.
    corner.put(&corner.names.results_queue(), b"no report").await;
    let late = JobReport {
        job: Uuid::now_v7().to_string(),
        attempt: 1,
        token: Token::new(SubmissionId(Uuid::now_v7()), 1).reveal().to_owned(),
        status: "COMPLETED".to_owned(),
        ..JobReport::default()
    };
    corner.put_report(&late).await;
    let shown = until("all that is counted", || async {
        let shown = metrics(at).await;
        let is = |name: &str, value: f64| shown.get(name).is_some_and(|shown| (shown - value).abs() < 0.5);
        let seen = is("quorate_messages_buried_total{queue=\"results\"}", 1.0)
            && is("quorate_reports_total{outcome=\"refused\",reason=\"JOB_NOT_FOUND\"}", 1.0)
            && is("quorate_reports_total{outcome=\"applied\",reason=\"\"}", 1.0)
            && is("quorate_jobs_published_total{delivery=\"first\"}", 2.0)
            && is("quorate_task_queue_jobs{task_queue=\"nobody\",state=\"waiting\"}", 1.0)
            && is("quorate_task_queue_jobs{task_queue=\"default\",state=\"waiting\"}", 0.0)
            && is("quorate_task_queue_consumers{task_queue=\"nobody\"}", 0.0)
            && shown.get("quorate_task_queue_consumers{task_queue=\"default\"}").is_some_and(|count| *count > 0.0)
            && shown["quorate_task_queue_oldest_waiting_seconds{task_queue=\"nobody\"}"] > 0.0
            && shown.get("quorate_events_published_total").is_some_and(|count| *count > 0.0)
            && is("quorate_publish_refused_total{what=\"jobs\"}", 0.0)
            && is("quorate_dead_letters", 1.0)
            && is("quorate_event_outbox_submissions", 0.0)
            && is("quorate_event_outbox_oldest_seconds", 0.0);
        seen.then_some(shown)
    })
    .await;
    let names: BTreeSet<String> = shown.keys().map(|sample| sample.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(names, documented());
    corner.next_dead().await;
    system.end().await;
}
