//! Flows that take long: what a worker carries out is neither delivered again nor carried out twice, and what nobody hears of any more
//! is carried out again, whatever is said of it later. Times are shortened by configuration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::proto::v1::{JobServiceListRequest, JobStatus, OpenJob, StepRunStatus, SubmissionStatus};
use quorate_engine::event::{Event, EventKind};
use quorate_worker::{FlowError, JobContext, Worker, WorkerBuilder, WorkerError, builtin::Builtin};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    approvals::step,
    audit::{each_result_was_applied_once, kinds, verified_history},
    backend::{Backend, services},
    jobs::delete_task_queue,
    queue_support::{Wire, until, within},
    system::System,
};

/// When a running job is acknowledged, and when a job that nobody has started is published again: instead of five minutes.
const SHORT: Duration = Duration::from_secs(1);

/// Many times as long as [`SHORT`], and less than the heartbeat of `LONG`.
const LONGER: Duration = Duration::from_secs(10);

/// How many jobs go through the queue behind one that would have come again at its head.
const FENCES: usize = 8;

/// An attempt that may take long, as long as it gives signs of life.
const LONG: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: long
allow_no_approvals: true
record: { type: note }
stages:
  - name: work
    steps: [{ name: job, background: { flow: orphan, execution: async, timeout: 1h, heartbeat: 30s } }]
    next: [{ to: end }]
";

/// A job on the same task queue that takes no time.
const FENCE: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: fence
allow_no_approvals: true
record: { type: note }
stages:
  - name: work
    steps: [{ name: job, background: { flow: fence, execution: async } }]
    next: [{ to: end }]
";

const FENCE_FLOW: &str = "\
apiVersion: quorate/v1
kind: Flow
name: fence
type: autolaunched
task_queue: nobody
code: {}
";

/// A worker that is silent for ten seconds has failed; and then somebody approves.
const SILENT: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: silent
record: { type: note }
stages:
  - name: work
    steps:
      - { name: job, background: { flow: orphan, execution: async, heartbeat: 10s, retry: { initial_interval: 10ms } } }
      - { name: approve, start: { after: [job] }, approval: { assign: [{ user: bob }] } }
    next: [{ to: end }]
";

/// How a worker comes to its jobs.
#[derive(Clone, Copy)]
enum Way {
    Amqp,
    Grpc,
}

/// Makes each `async fn name(backend: Backend, way: Way)` three tests: each way where there is a broker, and the one where there is none.
macro_rules! on_every_way {
    ($(async fn $name:ident($backend:ident: Backend, $way:ident: Way) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn claim($backend: Backend, $way: Way) $body

            #[tokio::test]
            async fn over_grpc_on_sqlite_and_memory() {
                claim(Backend::sqlite_and_memory(), Way::Grpc).await;
            }

            #[tokio::test]
            async fn over_grpc_on_postgres_and_rabbitmq() {
                claim(Backend::postgres_and_rabbitmq().await, Way::Grpc).await;
            }

            #[tokio::test]
            async fn over_amqp_on_postgres_and_rabbitmq() {
                claim(Backend::postgres_and_rabbitmq().await, Way::Amqp).await;
            }
        }
    )*};
}

/// A flow that counts its runs, and goes on until it is let go, also where it is cancelled.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<AtomicUsize>,
    open: CancellationToken,
}

impl Gate {
    fn serve(&self, worker: WorkerBuilder) -> WorkerBuilder {
        let gate = self.clone();
        worker.builtin("fence", Builtin::Ok).flow("orphan", move |job: JobContext, _: Value| {
            let gate = gate.clone();
            async move {
                gate.begun.fetch_add(1, Ordering::SeqCst);
                // The gate stops the first attempt only.
                if job.attempt() == 1 {
                    gate.open.cancelled().await;
                }
                Ok::<_, FlowError>(json!({ "attempt": job.attempt() }))
            }
        })
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        within("the worker's end", self.task).await.unwrap().unwrap();
    }
}

/// A worker of the task queue that no other serves, at the end of this wire where there is one.
fn run(system: &System, way: Way, wire: Option<&Wire>, serve: impl Fn(WorkerBuilder) -> WorkerBuilder) -> Running {
    let builder = Worker::builder().task_queue("nobody").concurrency(2).long_job_after(SHORT);
    let builder = match way {
        Way::Amqp => {
            let broker = system.backend.broker();
            builder.url(wire.map_or_else(|| broker.url.clone(), Wire::url)).prefix(&broker.prefix)
        }
        Way::Grpc => {
            let address = wire.map_or(system.server.address, Wire::address);
            builder.url(format!("http://{address}")).token(Some(system.token("worker")))
        }
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(builder).build().unwrap().run(stop.clone()));
    Running { stop, task }
}

async fn wire(system: &System, way: Way) -> Wire {
    match way {
        Way::Amqp => Wire::to_broker().await,
        Way::Grpc => Wire::to(system.server.address).await,
    }
}

/// Whether the broker waits for no acknowledgement of a job. The queue in memory cannot be asked: there it is a question of time.
async fn acknowledged(system: &System) -> Option<()> {
    let Some(broker) = &system.backend.broker else { return Some(()) };
    let queue = broker.corner().names.jobs_queue("nobody");
    // The worker under test runs on this thread.
    let columns = ["rabbitmqctl", "--quiet", "list_queues", "--no-table-headers", "name", "messages_unacknowledged"];
    let listed = tokio::task::spawn_blocking(move || services(&columns)).await.unwrap();
    let count =
        listed.lines().find_map(|line| line.strip_prefix(&queue)).unwrap_or_else(|| panic!("no {queue}: {listed}"));
    (count.trim() == "0").then_some(())
}

/// The job of a submission, where it is running.
async fn running_job(system: &System, id: &str) -> Option<OpenJob> {
    let request = JobServiceListRequest { filter: format!("submission = {id}"), ..JobServiceListRequest::default() };
    let jobs = system.caller("worker").jobs().list(request).await.unwrap().into_inner().jobs;
    jobs.into_iter().find(|job| job.status() == JobStatus::Running)
}

fn count(events: &[Event], kind: &str) -> usize {
    kinds(events).iter().filter(|of| *of == kind).count()
}

on_every_way! {
    async fn a_long_attempt_is_neither_delivered_again_nor_run_twice(backend: Backend, way: Way) {
        let mut system = System::start_without_worker(backend).await;
        system.restart_server(&["--redelivery-interval", "1", "--long-job-after", "1"]).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(FENCE_FLOW).await;
        admin.publish_process(LONG).await;
        admin.publish_process(FENCE).await;
        let (first, second) = (Gate::default(), Gate::default());
        let wire = wire(&system, way).await;
        let one = run(&system, way, Some(&wire), |worker| first.serve(worker));
        let id = ann.submit("long", json!({})).await.id;
        until("a running job", || running_job(&system, &id)).await;
        let since = Instant::now();
        until("the time to publish again", || async { (since.elapsed() > LONGER).then_some(()) }).await;
        until("the acknowledgement", || acknowledged(&system)).await;

        // What was not acknowledged would come again with the end of its connection, to a worker that has nothing to do.
        let other = run(&system, way, None, |worker| second.serve(worker));
        wire.cut();
        wire.mend();
        for _ in 0..FENCES {
            let fence = ann.submit("fence", json!({})).await.id;
            ann.when_it_is(&fence, SubmissionStatus::Approved).await;
        }
        let job = running_job(&system, &id).await.expect("it still runs");
        assert_eq!((job.attempt, first.begun(), second.begun()), (1, 1, 0));

        first.open.cancel();
        ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let events = verified_history(&system.store, &id).await;
        each_result_was_applied_once(&events);
        assert_eq!((count(&events, "JOB_STARTED"), count(&events, "JOB_ATTEMPT_FAILED")), (1, 0));
        one.stop().await;
        other.stop().await;
        assert_eq!((first.begun(), second.begun()), (1, 0));
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_silent_attempt_is_followed_by_the_next_and_its_late_result_is_refused(backend: Backend, way: Way) {
        let mut system = System::start_without_worker(backend).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        system.caller("admin").publish_process(SILENT).await;
        let gate = Gate::default();
        let worker = run(&system, way, None, |worker| gate.serve(worker).manual_heartbeat());
        let id = ann.submit("silent", json!({})).await.id;
        ann.when(&id, "the step's end", |submission| step(submission, "job") == StepRunStatus::Completed).await;
        let before = verified_history(&system.store, &id).await;
        let timed_out = before.iter().find_map(|event| match &event.kind {
            EventKind::JobAttemptFailed { attempt: 1, code, .. } => Some(code.as_str()),
            _ => None,
        });
        assert_eq!((timed_out, gate.begun()), (Some("HEARTBEAT_TIMEOUT"), 2));

        gate.open.cancel();
        let refused = |line: &str| {
            ["a report was refused", "ATTEMPT_NOT_LIVE"].iter().all(|part| line.contains(part)).then_some(())
        };
        system.server.program.said("that the late result is refused", refused).await;
        worker.stop().await;
        assert_eq!(verified_history(&system.store, &id).await, before, "it has changed nothing");
        each_result_was_applied_once(&before);
        bob.approve(&bob.item_of(&id).await).await;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let steps = ended.stages.iter().flat_map(|stage| &stage.steps);
        let outputs = steps.filter(|step| step.name == "job").find_map(|step| step.outputs.as_ref()).unwrap();
        assert_eq!(quorate::proto::value::to_json(outputs, "").unwrap(), json!({ "attempt": 2 }));
        delete_task_queue(&system).await;
        system.end().await;
    }
}
