//! What a worker does with its jobs, against a server that the tests play themselves.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use quorate_worker::{
    FlowError, JobContext, Rate, Worker, WorkerBuilder, WorkerError,
    builtin::Builtin,
    proto::{
        Job, JobReport, JobServiceGetRequest, JobServiceGetResponse, JobServiceListRequest, JobServiceListResponse,
        JobServiceListTaskQueuesRequest, JobServiceListTaskQueuesResponse, JobServiceReportJobRequest,
        JobServiceReportJobResponse, JobServiceStreamJobsRequest, JobServiceStreamJobsResponse,
        job_service_server::{JobService, JobServiceServer},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

/// No condition of these tests takes this long on a loaded machine: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_mins(1);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// What the tests and the service share.
struct Desk {
    /// Jobs for whoever streams.
    jobs: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>,
    streams: mpsc::UnboundedSender<Request<JobServiceStreamJobsRequest>>,
    reports: mpsc::UnboundedSender<JobReport>,
    /// How reports of this job and status are answered, one after the other; then they are taken.
    refusals: Mutex<HashMap<(String, String), Vec<Code>>>,
    /// Refuses all streams.
    locked: bool,
    /// Ends the open streams.
    cuts: watch::Sender<u32>,
    open_streams: AtomicUsize,
}

#[derive(Clone)]
struct Service(Arc<Desk>);

#[tonic::async_trait]
impl JobService for Service {
    type StreamJobsStream = Pin<Box<dyn Stream<Item = Result<JobServiceStreamJobsResponse, Status>> + Send>>;

    async fn stream_jobs(
        &self,
        request: Request<JobServiceStreamJobsRequest>,
    ) -> Result<Response<Self::StreamJobsStream>, Status> {
        if self.0.locked {
            return Err(Status::unauthenticated("who are you?"));
        }
        let _ = self.0.streams.send(request);
        let (sender, receiver) = mpsc::channel(1);
        let desk = self.0.clone();
        let mut cuts = desk.cuts.subscribe();
        desk.open_streams.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            loop {
                let job = tokio::select! {
                    biased;
                    () = sender.closed() => break,
                    _ = cuts.changed() => break,
                    job = async { desk.jobs.lock().await.recv().await } => job,
                };
                let Some(job) = job else { break };
                let _ = sender.send(Ok(JobServiceStreamJobsResponse { job: Some(job) })).await;
            }
            desk.open_streams.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_job(
        &self,
        request: Request<JobServiceReportJobRequest>,
    ) -> Result<Response<JobServiceReportJobResponse>, Status> {
        let report = request.into_inner().report.unwrap();
        let key = (report.job.clone(), report.status.clone());
        let refusal = {
            let mut refusals = self.0.refusals.lock().unwrap();
            refusals.get_mut(&key).and_then(|codes| (!codes.is_empty()).then(|| codes.remove(0)))
        };
        let _ = self.0.reports.send(report);
        match refusal {
            Some(code) => Err(Status::new(code, "as the test wants it")),
            None => Ok(Response::new(JobServiceReportJobResponse {})),
        }
    }

    async fn list(&self, _: Request<JobServiceListRequest>) -> Result<Response<JobServiceListResponse>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn list_task_queues(
        &self,
        _: Request<JobServiceListTaskQueuesRequest>,
    ) -> Result<Response<JobServiceListTaskQueuesResponse>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn get(&self, _: Request<JobServiceGetRequest>) -> Result<Response<JobServiceGetResponse>, Status> {
        Err(Status::unimplemented("not for workers"))
    }
}

struct Server {
    url: String,
    desk: Arc<Desk>,
    jobs: mpsc::UnboundedSender<Job>,
    streams: mpsc::UnboundedReceiver<Request<JobServiceStreamJobsRequest>>,
    reports: mpsc::UnboundedReceiver<JobReport>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(locked: bool) -> Self {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let (stream_sender, streams) = mpsc::unbounded_channel();
        let (report_sender, reports) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            jobs: tokio::sync::Mutex::new(waiting),
            streams: stream_sender,
            reports: report_sender,
            refusals: Mutex::default(),
            locked,
            cuts: watch::Sender::new(0),
            open_streams: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = JobServiceServer::new(Service(desk.clone()));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { url, desk, jobs, streams, reports }
    }

    fn worker(&self) -> WorkerBuilder {
        Worker::builder().url(&self.url).name("tester")
    }

    fn send(&self, job: Job) {
        self.jobs.send(job).unwrap();
    }

    async fn report(&mut self) -> JobReport {
        within("a report", self.reports.recv()).await.unwrap()
    }

    fn refuse(&self, job: &str, status: &str, codes: &[Code]) {
        self.desk.refusals.lock().unwrap().insert((job.to_owned(), status.to_owned()), codes.to_vec());
    }
}

/// A worker that runs, to be stopped.
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

fn job(id: &str, flow: &str, input: &Value) -> Job {
    let fields = input.as_object().unwrap().iter().map(|(name, value)| (name.clone(), proto(value))).collect();
    Job {
        job: id.to_owned(),
        attempt: 1,
        token: format!("token of {id}"),
        kind: "AUTOLAUNCHED".to_owned(),
        flow: flow.to_owned(),
        task_queue: "default".to_owned(),
        input: Some(prost_types::Struct { fields }),
        ..Job::default()
    }
}

fn proto(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        other => panic!("these tests send no {other}"),
    };
    prost_types::Value { kind: Some(kind) }
}

fn millis(millis: i32) -> prost_types::Duration {
    prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 }
}

fn error_of(report: &JobReport) -> (&str, &str, bool) {
    assert_eq!(report.status, "FAILED");
    let error = report.error.as_ref().unwrap();
    (&error.code, &error.message, error.retryable.unwrap())
}

#[derive(Deserialize)]
struct Input {
    amount: u32,
}

#[derive(Serialize)]
struct Output {
    doubled: u32,
}

#[tokio::test]
async fn a_typed_flow_is_carried_out_and_its_output_reported() {
    let mut server = Server::start().await;
    let worker = run(server
        .worker()
        .token(Some("secret".to_owned()))
        .metadata("x-quorate-as", "ann")
        .task_queues(["erp", "default"])
        .concurrency(7)
        .flow("double", |context: JobContext, input: Input| async move {
            assert_eq!((context.job(), context.attempt(), context.kind()), ("j1", 1, "AUTOLAUNCHED"));
            assert_eq!(context.deadline().unwrap().to_string(), "2026-11-22T10:00:00Z");
            Ok(Output { doubled: input.amount * 2 })
        }));
    let request = within("the stream", server.streams.recv()).await.unwrap();
    assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret");
    assert_eq!(request.metadata().get("x-quorate-as").unwrap(), "ann");
    let request = request.into_inner();
    assert_eq!((request.task_queues, request.concurrency), (vec!["default".to_owned(), "erp".to_owned()], 7));
    let deadline = prost_types::Timestamp { seconds: 1_795_341_600, nanos: 0 };
    server.send(Job { deadline: Some(deadline), ..job("j1", "double", &json!({"amount": 21})) });
    let report = server.report().await;
    let output = report.output.clone().unwrap();
    assert_eq!(output.fields["doubled"], proto(&json!(42)));
    // Done within a second, it is not reported STARTED.
    let expected = JobReport {
        job: "j1".to_owned(),
        attempt: 1,
        token: "token of j1".to_owned(),
        status: "COMPLETED".to_owned(),
        output: Some(output),
        error: None,
        worker: "tester".to_owned(),
        effects: Vec::new(),
    };
    assert_eq!(report, expected);
    worker.stop().await;
}

#[tokio::test]
async fn failures_are_reported_with_their_codes() {
    let mut server = Server::start().await;
    let worker = run(server
        .worker()
        .flow("erp", |_, _: Value| async { Err::<Value, _>(FlowError::new("ERP_DOWN", "no answer")) })
        .flow("typed", |_, input: Input| async move { Ok(Output { doubled: input.amount }) })
        .flow("panic", |_, _: Value| async { panic!("on the streets") as Result<Value, FlowError> })
        .flow("text", |_, _: Value| async { Ok("text") })
        .flow("nothing", |_, _: Value| async { Ok(()) })
        .flow("large", |_, _: Value| async { Ok(json!({"text": "x".repeat(256 * 1024)})) })
        .flow("nul", |_, _: Value| async { Ok(json!({"texts": ["fine", "no\u{0}"]})) })
        .flow("deep", |_, _: Value| async { Ok((0..24).fold(json!({}), |inner, _| json!({"a": inner}))) })
        .flow("wordy", |_, _: Value| async { Err::<Value, _>(FlowError::permanent("WORDY", "ä".repeat(3000))) }));
    let empty = json!({});
    for (flow, input, code, message, retryable) in [
        ("erp", &empty, "ERP_DOWN", "no answer", true),
        ("typed", &json!({"amount": -1}), "INPUT_INVALID", "", false),
        ("typed", &empty, "INPUT_INVALID", "missing field `amount`", false),
        ("panic", &empty, "PANIC", "the handler panicked: on the streets", true),
        ("unknown", &empty, "UNKNOWN_FLOW", "this worker does not serve unknown", true),
        ("text", &empty, "OUTPUT_NOT_OBJECT", "a flow has to return an object", false),
        ("nothing", &empty, "OUTPUT_NOT_OBJECT", "a flow has to return an object", false),
        ("large", &empty, "OUTPUT_TOO_LARGE", "the report has more than 262144 bytes as JSON", false),
        ("nul", &empty, "OUTPUT_INVALID", "output.texts[1]: a text must not hold the character U+0000", false),
        ("deep", &empty, "OUTPUT_INVALID", &format!("output{}: nested deeper than 24 levels", ".a".repeat(24)), false),
        ("wordy", &empty, "WORDY", &"ä".repeat(2000), false),
    ] {
        server.send(job("j", flow, input));
        let report = server.report().await;
        let seen = error_of(&report);
        assert_eq!((seen.0, seen.2), (code, retryable), "{flow}: {report:?}");
        assert!(message.is_empty() || seen.1 == message, "{flow}: {}", seen.1);
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_built_in_flows_do_as_they_are_told() {
    let mut server = Server::start().await;
    let worker =
        Builtin::ALL.into_iter().fold(server.worker(), |worker, builtin| worker.builtin(builtin.to_string(), builtin));
    let worker = run(worker.default_builtin(Builtin::Echo));
    for (flow, input, output) in [
        ("echo", json!({"a": 1}), json!({"a": 1})),
        ("any-other", json!({"b": "c"}), json!({"b": "c"})),
        ("ok", json!({}), json!({"ok": true, "isOrchestrationConditionMet": true})),
        ("sleep", json!({"milliseconds": 1}), json!({})),
        ("fail", json!({"times": 0}), json!({})),
    ] {
        server.send(job("j", flow, &input));
        let report = server.report().await;
        assert_eq!(report.status, "COMPLETED", "{flow}: {report:?}");
        let expected = job("j", flow, &output).input;
        assert_eq!(report.output, expected, "{flow}");
    }
    let failing = json!({"code": "ERP_DOWN", "message": "no answer", "retryable": false, "times": 1});
    server.send(job("j", "fail", &failing));
    assert_eq!(error_of(&server.report().await), ("ERP_DOWN", "no answer", false));
    server.send(Job { attempt: 2, ..job("j", "fail", &failing) });
    assert_eq!(server.report().await.status, "COMPLETED");
    server.send(job("j", "sleep", &json!({"hours": 1})));
    assert_eq!(error_of(&server.report().await).0, "INPUT_INVALID");
    worker.stop().await;
}

/// A flow that tells when it begins, and ends when it is let go or cancelled.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<AtomicUsize>,
    entered: Arc<Notify>,
    open: Arc<Notify>,
    cancelled: Arc<Notify>,
}

impl Gate {
    fn serve(&self, worker: WorkerBuilder) -> WorkerBuilder {
        let gate = self.clone();
        worker.flow("gate", move |context: JobContext, _: Value| {
            let gate = gate.clone();
            async move {
                gate.begun.fetch_add(1, Ordering::SeqCst);
                gate.entered.notify_one();
                tokio::select! {
                    () = gate.open.notified() => Ok(json!({})),
                    () = context.cancelled() => {
                        gate.cancelled.notify_one();
                        Err(FlowError::new("CANCELLED", "cancelled"))
                    }
                }
            }
        })
    }

    async fn entered(&self) {
        within("the handler's begin", self.entered.notified()).await;
    }
}

#[tokio::test]
async fn a_job_that_takes_longer_is_reported_started_first() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker()));
    server.send(job("j1", "gate", &json!({})));
    assert_eq!(server.report().await.status, "STARTED");
    gate.open.notify_one();
    assert_eq!(server.report().await.status, "COMPLETED");
    worker.stop().await;
}

#[tokio::test]
async fn heartbeats_are_sent_while_the_handler_runs() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker()));
    server.send(Job { heartbeat_interval: Some(millis(20)), ..job("j1", "gate", &json!({})) });
    assert_eq!(server.report().await.status, "STARTED");
    for _ in 0..3 {
        let report = server.report().await;
        assert_eq!((report.status.as_str(), report.token.as_str()), ("HEARTBEAT", "token of j1"));
    }
    gate.open.notify_one();
    while server.report().await.status == "HEARTBEAT" {}
    worker.stop().await;
}

#[tokio::test]
async fn with_manual_heartbeats_only_the_handler_s_are_sent() {
    let mut server = Server::start().await;
    let beat = Arc::new(Notify::new());
    let (asked, done) = (beat.clone(), Arc::new(Notify::new()));
    let finish = done.clone();
    let worker = run(server.worker().manual_heartbeat().flow("beats", move |context: JobContext, _: Value| {
        let (beat, done) = (asked.clone(), done.clone());
        async move {
            loop {
                tokio::select! {
                    () = beat.notified() => context.heartbeat(),
                    () = done.notified() => return Ok(json!({})),
                }
            }
        }
    }));
    server.send(Job { heartbeat_interval: Some(millis(4)), ..job("j1", "beats", &json!({})) });
    assert_eq!(server.report().await.status, "STARTED");
    // Automatic ones would have come by the hundred in the time of these.
    for _ in 0..3 {
        time::sleep(Duration::from_millis(50)).await;
        assert!(server.reports.try_recv().is_err());
        beat.notify_one();
        assert_eq!(server.report().await.status, "HEARTBEAT");
    }
    finish.notify_one();
    assert_eq!(server.report().await.status, "COMPLETED");
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_that_runs_out_of_time_is_cancelled_and_reported() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker()));
    server.send(Job { timeout: Some(millis(50)), ..job("j1", "gate", &json!({})) });
    assert_eq!(server.report().await.status, "STARTED");
    let report = server.report().await;
    assert_eq!(error_of(&report), ("TIMEOUT", "the attempt has run out of time", true));
    within("the cancellation", gate.cancelled.notified()).await;
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_that_is_not_live_any_more_is_dropped() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().concurrency(1)));
    server.refuse("j1", "HEARTBEAT", &[Code::FailedPrecondition]);
    server.send(Job { heartbeat_interval: Some(millis(20)), ..job("j1", "gate", &json!({})) });
    within("the cancellation", gate.cancelled.notified()).await;
    gate.open.notify_one();
    // The only slot is free again, and nothing more was said of the first job.
    server.send(job("j2", "gate", &json!({})));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(job, _)| job != "j2") {
        let report = server.report().await;
        seen.push((report.job, report.status));
    }
    let seen: Vec<_> = seen.iter().map(|(job, status)| (job.as_str(), status.as_str())).collect();
    assert_eq!(seen, [("j1", "STARTED"), ("j1", "HEARTBEAT"), ("j2", "COMPLETED")]);
    worker.stop().await;
}

#[tokio::test]
async fn a_result_that_the_server_cannot_take_now_is_sent_again() {
    let mut server = Server::start().await;
    let worker = run(server.worker().flow("ok", |_, input: Value| async move { Ok(input) }));
    server.refuse("j1", "COMPLETED", &[Code::Unavailable, Code::ResourceExhausted, Code::Internal]);
    server.refuse("j2", "COMPLETED", &[Code::NotFound]);
    server.send(job("j1", "ok", &json!({})));
    for _ in 0..4 {
        assert_eq!(server.report().await.job, "j1");
    }
    server.send(job("j2", "ok", &json!({})));
    server.send(job("j3", "ok", &json!({})));
    let mut jobs = vec![server.report().await.job, server.report().await.job];
    jobs.sort();
    assert_eq!(jobs, ["j2", "j3"], "what was refused is not sent again");
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_comes_again_while_it_runs_does_not_run_twice() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().flow("ok", |_, input: Value| async move { Ok(input) })));
    let first = job("j1", "gate", &json!({}));
    server.send(first.clone());
    gate.entered().await;
    within("the first stream", server.streams.recv()).await.unwrap();
    server.desk.cuts.send_modify(|cuts| *cuts += 1);
    within("the second stream", server.streams.recv()).await.unwrap();
    server.send(first.clone());
    // Another attempt of it is another one.
    server.send(Job { attempt: 2, token: "another".to_owned(), flow: "ok".to_owned(), ..first });
    let mut report = server.report().await;
    while report.status != "COMPLETED" {
        report = server.report().await;
    }
    assert_eq!(report.attempt, 2);
    gate.open.notify_one();
    while report.attempt != 1 || report.status != "COMPLETED" {
        report = server.report().await;
    }
    assert_eq!(gate.begun.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn no_more_jobs_than_asked_for_run_at_once() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().concurrency(2)));
    for id in ["j1", "j2", "j3"] {
        server.send(job(id, "gate", &json!({})));
    }
    while gate.begun.load(Ordering::SeqCst) < 2 {
        gate.entered().await;
    }
    // By then the third would have begun long ago.
    assert_eq!(server.report().await.status, "STARTED");
    assert_eq!(gate.begun.load(Ordering::SeqCst), 2);
    gate.open.notify_one();
    while gate.begun.load(Ordering::SeqCst) < 3 {
        gate.entered().await;
    }
    // One permit is kept by a Notify that nobody waits for: each of the two needs its own.
    gate.open.notify_waiters();
    worker.shutdown.cancel();
    while !worker.task.is_finished() {
        gate.open.notify_one();
        time::sleep(Duration::from_millis(5)).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_runs_and_begins_nothing() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().flow("ok", |_, input: Value| async move { Ok(input) })));
    server.send(job("j1", "gate", &json!({})));
    gate.entered().await;
    worker.shutdown.cancel();
    assert_eq!(server.report().await.status, "STARTED");
    server.send(job("j2", "ok", &json!({})));
    // The stream's end would give the running job to another worker.
    assert_eq!(server.desk.open_streams.load(Ordering::SeqCst), 1);
    gate.open.notify_one();
    let report = server.report().await;
    assert_eq!((report.job.as_str(), report.status.as_str()), ("j1", "COMPLETED"));
    worker.stop().await;
    assert!(server.reports.try_recv().is_err());
    within("the stream's end", async {
        while server.desk.open_streams.load(Ordering::SeqCst) > 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_done_at_the_end_of_the_grace_period_is_cancelled_and_not_reported() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().grace(Duration::ZERO)));
    server.send(job("j1", "gate", &json!({})));
    gate.entered().await;
    worker.stop().await;
    within("the cancellation", gate.cancelled.notified()).await;
    // That it has started it may have said.
    while let Ok(report) = server.reports.try_recv() {
        assert_eq!(report.status, "STARTED");
    }
}

#[tokio::test]
async fn a_long_job_that_is_not_done_at_the_end_of_the_grace_period_is_handed_back() {
    let mut server = Server::start().await;
    let gate = Gate::default();
    let worker = run(gate.serve(server.worker().grace(Duration::ZERO).long_job_after(Duration::ZERO)));
    server.send(job("j1", "gate", &json!({})));
    assert_eq!(server.report().await.status, "STARTED");
    worker.stop().await;
    let report = server.report().await;
    let error = report.error.unwrap();
    assert_eq!(
        (report.status.as_str(), error.code.as_str(), error.retryable),
        ("FAILED", "WORKER_STOPPED", Some(true))
    );
}

#[tokio::test]
async fn a_worker_that_the_server_does_not_let_in_ends() {
    let server = Server::start_with(true).await;
    let worker = server.worker().task_queue("default").task_queue_concurrency("erp", 2);
    let worker = run(Gate::default().serve(worker));
    let WorkerError::Refused(reason) = within("the worker's end", worker.task).await.unwrap().unwrap_err();
    assert_eq!(reason, "who are you?");
}

#[tokio::test]
async fn a_task_queue_with_limits_of_its_own_has_a_stream_of_its_own() {
    let mut server = Server::start().await;
    let rate = Rate::new(10, Duration::from_secs(1));
    let worker = server.worker().task_queues(["default", "erp", "mail"]).concurrency(5);
    let worker = worker.task_queue_concurrency("erp", 2).task_queue_rate("slow", rate).builtin("ok", Builtin::Ok);
    let worker = run(worker);
    let mut wanted = Vec::new();
    for _ in 0..3 {
        let request = within("a stream", server.streams.recv()).await.unwrap().into_inner();
        wanted.push((request.task_queues.join(" "), request.concurrency));
    }
    wanted.sort();
    assert_eq!(wanted, [("default mail".to_owned(), 5), ("erp".to_owned(), 2), ("slow".to_owned(), 5)]);
    worker.stop().await;
}

#[test]
fn a_worker_that_makes_no_sense_is_not_built() {
    let sensible = || Worker::builder().url("http://localhost:1").flow("f", |_, input: Value| async move { Ok(input) });
    assert!(sensible().build().is_ok());
    for (worker, complaint) in [
        (sensible().url("localhost:1"), "has to begin with"),
        (sensible().task_queue_concurrency("erp", 1001), "`erp` has to be 1 to 1000, not 1001"),
        (sensible().task_queue_rate("erp", Rate::new(0, Duration::from_secs(1))), "the rate of the task queue `erp`"),
        (sensible().task_queue_rate("erp", Rate::new(1, Duration::ZERO)), "the rate of the task queue `erp`"),
        (sensible().url("amqp://user:secret@"), "the URL cannot be used"),
        (sensible().url("https://localhost:1"), "authority"),
        (sensible().task_queue("No Such Name"), "`No Such Name`"),
        (sensible().concurrency(0), "1 to 1000"),
        (sensible().concurrency(1001), "1 to 1000"),
        (sensible().flow("f", |_, input: Value| async move { Ok(input) }), "`f` has two handlers"),
        (sensible().metadata("not a key", "x"), "`not a key`"),
        (Worker::builder().url("http://localhost:1"), "no flow"),
    ] {
        let Err(error) = worker.build() else { panic!("it was built: {complaint}") };
        let error = error.to_string();
        assert!(error.contains(complaint) && !error.contains("secret"), "{error}");
    }
}
