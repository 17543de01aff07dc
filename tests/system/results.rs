//! Results that cannot be taken: they end their attempt, and nothing goes round.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use quorate::proto::{
    self,
    v1::{Job, JobReport, StepRunStatus, Submission, SubmissionStatus},
    value,
};
use quorate_engine::event::EventKind;
use quorate_worker::{FlowError, JobContext};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    approvals::step,
    audit::verified_history,
    backend::Backend,
    caller::{fields, refused},
    jobs::{completed, delete_task_queue, next, report, stream},
    on_every_backend,
    system::System,
};

/// A flow that only the worker of a test serves.
const JOB: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: job
allow_no_approvals: true
record: { type: note, schema: { type: object, properties: { what: { type: string } } } }
stages:
  - name: work
    steps:
      - name: job
        background: { flow: orphan, execution: async, input: { what: 'record.what' }, retry: { initial_interval: 10ms } }
    next: [{ to: end }]
";

/// A job too large for any queue: its input and the workflow of its flow are each as large as they may be, and the workflow is full of
/// characters that are written in four where a job carries them.
fn too_large() -> (String, Value) {
    let flow = format!(
        "apiVersion: quorate/v1
kind: Flow
name: quoting
type: autolaunched
task_queue: nobody
workflow:
  document: {{ dsl: '1.0.0', namespace: test, name: quoting, version: '1.0.0' }}
  do: [{{ quote: {{ set: {{ quotes: '{}' }} }} }}]
",
        "\"".repeat(23_000)
    );
    (flow, json!({ "what": "x".repeat(199 * 1024) }))
}

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

/// What the step failed with, for people.
fn failure(submission: &Submission) -> &str {
    assert_eq!((submission.status(), step(submission, "job")), (SubmissionStatus::Error, StepRunStatus::Error));
    &submission.failure.as_ref().unwrap().message
}

/// Codes of the attempts that failed.
async fn codes(system: &System, id: &str) -> Vec<String> {
    let events = verified_history(&system.store, id).await.into_iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::JobAttemptFailed { code, .. } | EventKind::JobFailed { code, .. } => Some(code),
            _ => None,
        })
        .collect()
}

on_every_backend! {
    async fn what_a_handler_returns_and_nobody_can_take_ends_the_step_after_one_attempt(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(JOB).await;
        let ann = system.caller("ann");
        let runs = Arc::new(AtomicUsize::new(0));
        system.start_worker_that(|builder| {
            let runs = runs.clone();
            builder.task_queue("nobody").flow("orphan", move |job: JobContext, input: Value| {
                runs.fetch_add(1, Ordering::SeqCst);
                async move {
                    match input["what"].as_str() {
                        Some("nul") => Ok(json!({ "texts": ["fine", "\0"] })),
                        Some("deep") => Ok(nested(26)),
                        Some("nul in a patch") => job.update_record(json!({ "text": "\0" })).map(|()| json!({})),
                        _ => job.emit(&quorate_worker::EmittedEvent::new("told").data("\0")).map(|()| json!({})),
                    }
                    .map_err(|error: FlowError| FlowError { retryable: false, ..error })
                }
            })
        });
        let deep = format!("output{}: nested deeper", ".a".repeat(24));
        for (run, (what, code, path)) in [
            ("nul", "OUTPUT_INVALID", "output.texts[1]: "),
            ("deep", "OUTPUT_INVALID", deep.as_str()),
            ("nul in a patch", "EFFECT_INVALID", "record_patch.text: "),
            ("nul in an event", "EFFECT_INVALID", "data: "),
        ].into_iter().enumerate() {
            let id = ann.submit("job", json!({ "what": what })).await.id;
            let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
            assert!(failure(&ended).contains(path), "{what}: {}", failure(&ended));
            assert_eq!((codes(&system, &id).await, runs.load(Ordering::SeqCst)), (vec![code.to_owned()], run + 1));
        }
        if let Some(broker) = &system.backend.broker {
            assert_eq!(broker.corner().count(&broker.corner().names.dead_queue()).await, 0, "nothing was sent in vain");
        }
        system.stop_worker().await;
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_result_that_cannot_be_read_ends_its_attempt_and_makes_room_for_the_next_job(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(JOB).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        // One job at a time.
        let mut jobs = stream(&worker).await;
        let large = json!({ "text": "x".repeat(300 * 1024) });
        for (output, path) in [(json!({ "b": ["\0"] }), "output.b[0]"), (nested(27), "output.a.a"), (large, "output")] {
            let id = ann.submit("job", json!({ "what": "nothing" })).await.id;
            let job = next(&mut jobs).await;
            assert_eq!(job.submission, id);
            let status = report(&worker, JobReport { output: Some(value::from_json(&output)), ..completed(&job) }).await;
            let status = status.unwrap_err();
            let named = fields(&status).pop().unwrap();
            assert!(status.code() == Code::InvalidArgument && named.starts_with(&format!("report.{path}")), "{status:?}");
            let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
            assert!(failure(&ended).contains(path), "{}", failure(&ended));
            assert_eq!(codes(&system, &id).await, ["OUTPUT_INVALID"]);
        }
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }
}

on_every_backend! {
    async fn a_job_that_no_queue_takes_ends_its_step_and_says_what_is_too_large(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        let (flow, record) = too_large();
        admin.publish_flows(&flow).await;
        admin.publish_process(&JOB.replace("name: job\nallow", "name: large\nallow").replace("orphan", "quoting")).await;
        let id = ann.submit("large", record).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        let failure = failure(&ended);
        assert!(failure.contains("after 1 attempt: JOB_UNPUBLISHABLE: the job has") && failure.contains("262144"), "{failure}");
        assert!(failure.contains("; its input has 203787 bytes as JSON, and the workflow of its flow 92"), "{failure}");
        assert_eq!(codes(&system, &id).await, ["JOB_UNPUBLISHABLE"]);
        // What is smaller goes out.
        ann.submit("large", json!({ "what": "nothing" })).await;
        let mut jobs = stream(&system.caller("worker")).await;
        assert_eq!(next(&mut jobs).await.flow, "quoting");
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }
}

/// A report as a worker in another language may write it.
fn written(job: &Job, rest: &Value) -> Vec<u8> {
    let mut report = json!({ "job": job.job, "attempt": job.attempt, "token": job.token });
    report.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    report.to_string().into_bytes()
}

#[tokio::test]
async fn a_result_that_is_no_report_at_all_ends_its_attempt_and_is_kept_for_looking_at() {
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    system.caller("admin").publish_process(JOB).await;
    let (ann, worker) = (system.caller("ann"), system.caller("worker"));
    let corner = system.backend.broker().corner();
    let mut jobs = stream(&worker).await;
    for (rest, reason) in [
        (json!({ "status": "COMPLETED", "output": { "text": "\0" } }), "output.text"),
        (json!({ "status": "COMPLETED", "output": ["a", "list"] }), "not the JSON of JobReport"),
        (json!({ "status": "COMPLETED", "output": nested(60) }), "not the JSON of JobReport"),
        (json!({ "status": "COMPLETED", "output": { "text": "x".repeat(300_000) } }), "262144"),
        (json!({ "status": "FAILED", "error": "DOWN" }), "not the JSON of JobReport"),
        (json!({ "status": "FAILED", "effects": [{ "comment": "done" }] }), "effects"),
    ] {
        let id = ann.submit("job", json!({ "what": "nothing" })).await.id;
        let job = next(&mut jobs).await;
        assert_eq!(job.submission, id);
        let body = written(&job, &rest);
        corner.put(&corner.names.results_queue(), &body).await;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert!(failure(&ended).contains(reason), "{}", failure(&ended));
        assert_eq!(codes(&system, &id).await, ["OUTPUT_INVALID"]);
        let (headers, dead) = corner.next_dead().await;
        assert!(dead == body && headers["x-quorate-reason"].contains(reason), "{headers:?}");
        // Makes room for the next job.
        assert_eq!(refused(report(&worker, completed(&job)).await).1, "ATTEMPT_NOT_LIVE");
    }
    // That an attempt begins or goes on ends none, however it is written.
    let id = ann.submit("job", json!({ "what": "nothing" })).await.id;
    let job = next(&mut jobs).await;
    corner.put(&corner.names.results_queue(), &written(&job, &json!({ "status": "STARTED", "worker": 7 }))).await;
    corner.next_dead().await;
    corner.put(&corner.names.results_queue(), &proto::to_json(&completed(&job)).unwrap()).await;
    ann.when_it_is(&id, SubmissionStatus::Approved).await;
    drop(jobs);
    delete_task_queue(&system).await;
    system.end().await;
}

#[tokio::test]
async fn an_event_that_grows_beyond_what_can_be_told_is_refused_by_name_and_never_passed_over() {
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    system.caller("admin").publish_process(JOB).await;
    let (ann, worker) = (system.caller("ann"), system.caller("worker"));
    let corner = system.backend.broker().corner();
    let mut jobs = stream(&worker).await;
    // 240 KB as it comes, and as it is told 660 KB: it has no letter E. The other fits into a report, but not with the rest of a message.
    let growing = format!("[{}]", vec!["1e9"; 60_000].join(","));
    let large = json!("x".repeat(210 * 1024)).to_string();
    for (data, field) in [(growing, "effects"), (large, "effects[0].event.data")] {
        let id = ann.submit("job", json!({ "what": "nothing" })).await.id;
        let job = next(&mut jobs).await;
        let event = json!({ "type": "com.example.told", "data": "DATA" });
        let body = written(&job, &json!({ "status": "COMPLETED", "effects": [{ "event": event }] }));
        let body = String::from_utf8(body).unwrap().replace("\"DATA\"", &data);
        assert!(body.len() < 256 * 1024);
        corner.put(&corner.names.results_queue(), body.as_bytes()).await;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert!(failure(&ended).contains(&format!("{field}: ")), "{}", failure(&ended));
        let (headers, _) = corner.next_dead().await;
        assert!(headers["x-quorate-reason"].starts_with(&format!("{field}: ")), "{headers:?}");
        // Makes room for the next job.
        assert_eq!(refused(report(&worker, completed(&job)).await).1, "ATTEMPT_NOT_LIVE");
    }
    drop(jobs);
    delete_task_queue(&system).await;
    system.end().await;
}
