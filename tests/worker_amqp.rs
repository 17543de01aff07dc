//! A worker on a real broker, with the server's own queue on the other side of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod queue_support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use queue_support::{Corner, Wire, amqp_url, until, within};
use quorate::{
    proto::v1::{Job, JobReport},
    queue::{Delivery, Published, Queue, RabbitQueue},
};
use quorate_worker::{FlowError, JobContext, Rate, Worker, WorkerBuilder, WorkerError, builtin::Builtin};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const TASK_QUEUE: &str = "default";

/// The task queue that has limits of its own, where a test needs one.
const LIMITED: &str = "limited";

/// The server's side.
struct Server {
    corner: Corner,
    queue: RabbitQueue,
    reports: BoxStream<'static, Delivery<JobReport>>,
}

impl Server {
    async fn start() -> Self {
        let corner = Corner::new().await;
        let queue = corner.queue().await;
        let reports = queue.reports();
        Self { corner, queue, reports }
    }

    fn worker(&self) -> WorkerBuilder {
        Worker::builder().url(amqp_url()).prefix(&self.corner.prefix)
    }

    async fn publish(&self, job: Job) {
        assert_eq!(self.queue.publish(vec![job]).await.unwrap(), [Published::Confirmed]);
    }

    async fn report(&mut self) -> JobReport {
        let delivery = within("a report", self.reports.next()).await.unwrap();
        delivery.acknowledge.acknowledge().await.unwrap();
        delivery.body
    }

    /// The report of this status, past the ones that come before it.
    async fn report_of(&mut self, job: &str, status: &str) -> JobReport {
        loop {
            let report = self.report().await;
            if report.job == job && report.status == status {
                return report;
            }
        }
    }

    /// Jobs that no worker holds.
    async fn left_over(&self) -> u32 {
        self.left_over_in(TASK_QUEUE).await
    }

    async fn left_over_in(&self, task_queue: &str) -> u32 {
        self.corner.count(&self.corner.names.jobs_queue(task_queue)).await
    }

    async fn end(self) {
        drop(self.reports);
        self.queue.close().await;
        self.corner.clean_up(&[TASK_QUEUE, LIMITED]).await;
    }
}

fn job(id: &str, flow: &str) -> Job {
    Job {
        job: id.to_owned(),
        attempt: 1,
        token: format!("token of {id}"),
        kind: "AUTOLAUNCHED".to_owned(),
        flow: flow.to_owned(),
        task_queue: TASK_QUEUE.to_owned(),
        ..Job::default()
    }
}

/// A flow that tells when it begins, and ends when it is let go or cancelled.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<AtomicUsize>,
    entered: Arc<Notify>,
    open: CancellationToken,
}

impl Gate {
    fn serve(&self, worker: WorkerBuilder) -> WorkerBuilder {
        let gate = self.clone();
        worker.builtin("ok", Builtin::Ok).flow("gate", move |context: JobContext, _: Value| {
            let gate = gate.clone();
            async move {
                gate.begun.fetch_add(1, Ordering::SeqCst);
                gate.entered.notify_one();
                tokio::select! {
                    () = gate.open.cancelled() => Ok(json!({"done": true})),
                    () = context.cancelled() => Err(FlowError::new("CANCELLED", "cancelled")),
                }
            }
        })
    }

    async fn entered(&self) {
        within("the handler's begin", self.entered.notified()).await;
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

fn run(worker: WorkerBuilder) -> Running {
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(worker.build().unwrap().run(shutdown.clone()));
    Running { shutdown, task }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        within("the worker's end", self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn jobs_are_carried_out_reported_and_acknowledged() {
    let mut server = Server::start().await;
    let worker = run(server
        .worker()
        .flow("double", |_, input: Value| async move { Ok(json!({"doubled": input["amount"].as_i64().unwrap() * 2})) })
        .flow("erp", |_, _: Value| async { Err::<Value, _>(FlowError::permanent("NO_SUCH_VENDOR", "ACME")) })
        .flow("panic", |_, _: Value| async { panic!("on the streets") as Result<Value, FlowError> }));
    let amount = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(21.0)) };
    let input = prost_types::Struct { fields: [("amount".to_owned(), amount)].into() };
    server.publish(Job { input: Some(input), ..job("j1", "double") }).await;
    let report = server.report().await;
    assert_eq!((report.status.as_str(), report.token.as_str()), ("COMPLETED", "token of j1"));
    let doubled = &report.output.unwrap().fields["doubled"];
    assert_eq!(doubled.kind, Some(prost_types::value::Kind::NumberValue(42.0)));
    // A job each: the worker takes a second delivery of one attempt for the same while the first is not yet settled.
    for (id, flow, code, retryable) in [
        ("j2", "erp", "NO_SUCH_VENDOR", false),
        ("j3", "panic", "PANIC", true),
        ("j4", "unknown", "UNKNOWN_FLOW", true),
    ] {
        server.publish(job(id, flow)).await;
        let report = server.report().await;
        let error = report.error.unwrap();
        assert_eq!((report.status.as_str(), error.code.as_str()), ("FAILED", code));
        assert_eq!(error.retryable, Some(retryable));
    }
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_worker_that_comes_before_the_server_declares_what_it_needs() {
    let corner = Corner::new().await;
    let gate = Gate::default();
    let worker = run(gate.serve(Worker::builder().url(amqp_url()).prefix(&corner.prefix)));
    let results = corner.names.results_queue();
    until("the worker's queues", || async {
        let declared = corner.exists(&results).await && corner.exists(&corner.names.jobs_queue(TASK_QUEUE)).await;
        declared.then_some(())
    })
    .await;
    let queue = corner.queue().await;
    let mut server = Server { reports: queue.reports(), queue, corner };
    server.publish(job("j1", "ok")).await;
    server.report_of("j1", "COMPLETED").await;
    worker.stop().await;
    server.end().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_goes_to_the_dead_letters_and_does_not_loop() {
    let mut server = Server::start().await;
    server.publish(job("j1", "ok")).await;
    let worker = run(server.worker().builtin("ok", Builtin::Ok));
    server.report_of("j1", "COMPLETED").await;
    let jobs = server.corner.names.jobs_queue(TASK_QUEUE);
    server.corner.put(&jobs, b"not json").await;
    server.corner.put(&jobs, br#"{"flow":"ok"}"#).await;
    let (headers, body) = server.corner.next_dead().await;
    assert_eq!(body, b"not json");
    assert_eq!(headers["x-first-death-reason"], "rejected");
    assert_eq!(headers["x-first-death-queue"], jobs);
    assert_eq!(server.corner.next_dead().await.1, br#"{"flow":"ok"}"#);
    server.publish(job("j2", "ok")).await;
    server.report_of("j2", "COMPLETED").await;
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    assert_eq!(server.corner.count(&server.corner.names.dead_queue()).await, 0);
    server.end().await;
}

#[tokio::test]
async fn two_deliveries_of_one_attempt_run_once_and_are_both_acknowledged() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().concurrency(3)));
    server.publish(job("j1", "gate")).await;
    gate.entered().await;
    server.publish(job("j1", "gate")).await;
    // Comes after the second delivery, over the same consumer.
    server.publish(job("j2", "ok")).await;
    server.report_of("j2", "COMPLETED").await;
    gate.open.cancel();
    server.report_of("j1", "COMPLETED").await;
    assert_eq!(gate.begun(), 1);
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_running_job_survives_a_cut_of_the_wire_without_a_second_run() {
    let mut server = Server::start().await;
    let wire = Wire::to_broker().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().url(wire.url()).concurrency(2)));
    server.publish(job("j1", "gate")).await;
    gate.entered().await;
    wire.cut();
    until("the job's return", || async { (server.left_over().await == 1).then_some(()) }).await;
    wire.mend();
    // It is behind the first job, which went back to the head of the queue: when it is done, the first was seen again.
    server.publish(job("j2", "ok")).await;
    server.report_of("j2", "COMPLETED").await;
    gate.open.cancel();
    server.report_of("j1", "COMPLETED").await;
    assert_eq!(gate.begun(), 1);
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_result_is_kept_while_the_broker_is_away() {
    let mut server = Server::start().await;
    let wire = Wire::to_broker().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().url(wire.url())));
    server.publish(job("j1", "gate")).await;
    gate.entered().await;
    wire.cut();
    gate.open.cancel();
    // Back in the queue: the broker knows of the cut.
    until("the job's return", || async { (server.left_over().await == 1).then_some(()) }).await;
    wire.mend();
    // It is behind the first job, which went back to the head of the queue: when it is done, the first was seen again.
    server.publish(job("j2", "ok")).await;
    let mut missing = BTreeSet::from(["j1", "j2"]);
    while !missing.is_empty() {
        let report = server.report().await;
        if report.status == "COMPLETED" {
            missing.remove(report.job.as_str());
        }
    }
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_long_job_is_acknowledged_while_it_runs() {
    let mut server = Server::start().await;
    let wire = Wire::to_broker().await;
    let gate = Gate::default();
    let worker = gate.serve(server.worker().url(wire.url()).concurrency(1).long_job_after(Duration::ZERO));
    let worker = run(worker.grace(Duration::ZERO));
    let interval = prost_types::Duration { seconds: 0, nanos: 100_000_000 };
    server.publish(Job { heartbeat_interval: Some(interval), ..job("j1", "gate") }).await;
    assert_eq!(server.report().await.status, "STARTED");
    assert_eq!(server.report().await.status, "HEARTBEAT");
    // The broker counts the long job no more and would deliver the next one: as there is no room for it, it is left to others.
    server.publish(job("j2", "ok")).await;
    let mut jobs = server.queue.jobs(vec![TASK_QUEUE.to_owned()], 1);
    assert_eq!(within("the second job", jobs.next()).await.unwrap().body.job, "j2");
    drop(jobs);
    // Not acknowledged, the first job would come again with the end of its connection.
    wire.cut();
    let mut jobs = server.queue.jobs(vec![TASK_QUEUE.to_owned()], 1);
    let delivery = within("the second job again", jobs.next()).await.unwrap();
    assert_eq!(delivery.body.job, "j2");
    delivery.acknowledge.acknowledge().await.unwrap();
    drop(jobs);
    // What was said over the wire before it was cut is in the queue of reports then, before this.
    wire.is_silent().await;
    let marker = JobReport { job: "marker".to_owned(), status: "COMPLETED".to_owned(), ..JobReport::default() };
    server.corner.put_report(&marker).await;
    server.report_of("marker", "COMPLETED").await;
    wire.mend();
    // Nobody would give it to another worker now, so that the worker says that it stops.
    while server.report().await.status != "HEARTBEAT" {}
    worker.shutdown.cancel();
    let report = server.report_of("j1", "FAILED").await;
    assert_eq!(report.error.unwrap().code, "WORKER_STOPPED");
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn short_jobs_beside_long_ones_are_not_taken_and_given_back() {
    const LONG: usize = 8;
    const SHORT: usize = 100;
    let mut server = Server::start().await;
    // A quorum queue counts how often a job was given back, and gives it up beyond this. From RabbitMQ 4.0 on it does so unasked, at 20.
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(2));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments
        .insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(server.corner.names.dead_queue().into()));
    let queue = server.corner.names.jobs_queue(TASK_QUEUE);
    server.corner.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();

    let gate = Gate::default();
    let worker = gate.serve(server.worker().concurrency(16).long_job_after(Duration::from_secs(1)));
    let begun = Arc::new(AtomicUsize::new(0));
    let worker = run(worker.flow("short", move |_, _: Value| {
        let number = begun.fetch_add(1, Ordering::SeqCst) % 8;
        async move {
            // Long enough for all places to be taken, of which one becomes free at a time.
            tokio::time::sleep(Duration::from_millis([25, 200, 50, 175, 75, 150, 100, 125][number])).await;
            Ok(json!({}))
        }
    }));
    // A heartbeat comes two seconds after the start: by then the job is acknowledged.
    let interval = prost_types::Duration { seconds: 4, nanos: 0 };
    for number in 0..LONG {
        server.publish(Job { heartbeat_interval: Some(interval), ..job(&format!("long {number}"), "gate") }).await;
    }
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < LONG {
        acknowledged
            .extend(Some(server.report().await).filter(|report| report.status == "HEARTBEAT").map(|report| report.job));
    }
    let short = (0..SHORT).map(|number| job(&format!("short {number}"), "short")).collect();
    server.queue.publish(short).await.unwrap();
    let mut done = 0;
    while done < SHORT {
        done += usize::from(server.report().await.status == "COMPLETED");
        assert_eq!(server.corner.count(&server.corner.names.dead_queue()).await, 0, "given back too often");
    }
    // And what the long jobs held is used again.
    gate.open.cancel();
    for _ in 0..LONG {
        while server.report().await.status != "COMPLETED" {}
    }
    worker.stop().await;
    assert_eq!(server.left_over().await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_runs_and_gives_back_the_rest() {
    let mut server = Server::start().await;
    let (finishing, hanging) = (Gate::default(), Gate::default());
    let one = run(finishing.serve(server.worker().concurrency(1)));
    server.publish(job("j1", "gate")).await;
    finishing.entered().await;
    let other = run(hanging.serve(server.worker().concurrency(1).grace(Duration::ZERO)));
    server.publish(job("j2", "gate")).await;
    hanging.entered().await;
    one.shutdown.cancel();
    other.stop().await;
    until("what was not done in the grace period", || async { (server.left_over().await == 1).then_some(()) }).await;
    finishing.open.cancel();
    server.report_of("j1", "COMPLETED").await;
    one.stop().await;
    assert_eq!((server.left_over().await, finishing.begun()), (1, 1), "a stopping worker takes nothing more");
    server.end().await;
}

#[tokio::test]
async fn several_task_queues_are_served() {
    let mut server = Server::start().await;
    let worker = run(server.worker().task_queues([TASK_QUEUE, "erp"]).concurrency(1).default_builtin(Builtin::Echo));
    server.publish(job("j1", "any")).await;
    server.publish(Job { task_queue: "erp".to_owned(), ..job("j2", "any") }).await;
    let mut jobs = vec![server.report().await.job, server.report().await.job];
    jobs.sort();
    assert_eq!(jobs, ["j1", "j2"]);
    worker.stop().await;
    server.corner.delete(&server.corner.names.jobs_queue("erp")).await;
    server.end().await;
}

#[tokio::test]
async fn a_task_queue_with_places_of_its_own_takes_no_more_and_leaves_the_others_theirs() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker =
        run(gate.serve(server.worker().task_queue(TASK_QUEUE).concurrency(3)).task_queue_concurrency(LIMITED, 2));
    for number in 0..5 {
        server.publish(Job { task_queue: LIMITED.to_owned(), ..job(&format!("limited {number}"), "gate") }).await;
        server.publish(job(&format!("other {number}"), "gate")).await;
    }
    // All places are taken, and what is beyond them is left to other workers.
    until("two and three jobs to have begun", || async { (gate.begun() == 5).then_some(()) }).await;
    until("three limited jobs to be left", || async { (server.left_over_in(LIMITED).await == 3).then_some(()) }).await;
    until("two other jobs to be left", || async { (server.left_over().await == 2).then_some(()) }).await;
    assert_eq!(gate.begun(), 5);
    gate.open.cancel();
    for _ in 0..10 {
        while server.report().await.status != "COMPLETED" {}
    }
    worker.stop().await;
    server.end().await;
}

#[tokio::test]
async fn no_more_jobs_begin_than_the_rate_of_their_task_queue_allows() {
    let mut server = Server::start().await;
    // No test takes an hour: two begin, and the others wait for their turn.
    let rate = Rate::new(2, Duration::from_hours(1));
    let worker = server.worker().task_queue(TASK_QUEUE).task_queue_rate(LIMITED, rate).builtin("ok", Builtin::Ok);
    let worker = run(worker);
    for number in 0..4 {
        server.publish(Job { task_queue: LIMITED.to_owned(), ..job(&format!("limited {number}"), "ok") }).await;
    }
    for number in 0..20 {
        server.publish(job(&format!("other {number}"), "ok")).await;
    }
    let (mut limited, mut others) = (0, 0);
    while limited < 2 || others < 20 {
        match server.report().await {
            report if report.status != "COMPLETED" => {}
            report if report.job.starts_with("limited") => limited += 1,
            _ => others += 1,
        }
    }
    assert_eq!((limited, others), (2, 20));
    worker.stop().await;
    // Those that had no turn go to another worker.
    until("two jobs to be back", || async { (server.left_over_in(LIMITED).await == 2).then_some(()) }).await;
    server.end().await;
}
