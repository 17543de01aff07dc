//! Tests of handlers without a server: a [`TestJob`] is carried out as a worker does it, and what the worker would report comes back.
//!
//! The attempt is a real one: its types are checked, its layers run, heartbeats are sent, time runs out, and it is cancelled, as in a
//! worker that serves. Nothing listens on the other side. With tokio's paused clock (`#[tokio::test(start_paused = true)]`, or
//! `tokio::time::pause`) an hour of waiting takes no time.
//!
//! ```
//! use quorate_worker::{EmittedEvent, FlowError, JobContext, Worker, testing::{Effect, Outcome, TestJob}};
//! use serde_json::{Value, json};
//!
//! async fn create_order(job: JobContext, input: Value) -> Result<Value, FlowError> {
//!     if input["vendor"] == "EVIL" {
//!         return Err(FlowError::permanent("VENDOR_BLOCKED", "this vendor gets no orders"));
//!     }
//!     job.update_record(json!({ "order": "PO-1" }))?;
//!     Ok(json!({ "order": "PO-1" }))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let worker = Worker::builder().flow("create-order", create_order);
//!
//! let done = TestJob::new("create-order").input(json!({ "vendor": "ACME" })).run(&worker).await;
//! assert_eq!(done.outcome, Outcome::Completed(json!({ "order": "PO-1" })));
//! assert_eq!(done.effects, [Effect::RecordPatch(json!({ "order": "PO-1" }))]);
//!
//! let refused = TestJob::new("create-order").input(json!({ "vendor": "EVIL" })).run(&worker).await;
//! assert_eq!(refused.error().unwrap().code, "VENDOR_BLOCKED");
//! # });
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use crate::{
    EmittedEvent, FlowError, WorkerBuilder, WorkerError, attempt, json,
    ledger::Entered,
    limits::Share,
    places::Places,
    proto::{Job, JobReport, job_effect},
    transport::{Hold, Incoming, ReportError, Transport},
    worker::Core,
};

/// A job for a test: one attempt of a flow.
#[derive(Clone, Debug)]
pub struct TestJob {
    job: Job,
    input: Result<Value, String>,
    stop_after: Option<Duration>,
    gone_after: Option<Duration>,
}

/// What became of a [`TestJob`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// What the flow does to its submission besides returning, in its order. Empty unless it completed.
    pub effects: Vec<Effect>,
    /// Whether the server was told that the attempt had started: it is after a second, or at once where time is short.
    pub started: bool,
    /// How many heartbeats were sent.
    pub heartbeats: usize,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The flow completed with this output.
    Completed(Value),
    /// The attempt failed, by what the handler returned, or by what the worker says of it: `TIMEOUT`, `PANIC`, `UNKNOWN_FLOW`,
    /// `INPUT_INVALID`…
    Failed(FlowError),
    /// Nothing was reported: the worker stopped and gave the job back, or the server wanted to hear of it no more.
    Dropped,
}

/// What a flow does to its submission besides returning.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It says something.
    Comment(String),
    /// It changes the record, by a merge patch.
    RecordPatch(Value),
    /// It tells other systems something.
    Event(EmittedEvent),
}

impl TestJob {
    /// The first attempt of a background step's job, with the input `{}`.
    pub fn new(flow: impl Into<String>) -> Self {
        let flow = flow.into();
        let job = Job {
            job: "00000000-0000-7000-8000-000000000001".to_owned(),
            attempt: 1,
            token: "a token".to_owned(),
            kind: "AUTOLAUNCHED".to_owned(),
            flow,
            flow_version: 1,
            task_queue: "default".to_owned(),
            tenant: "default".to_owned(),
            submission: "00000000-0000-7000-8000-000000000002".to_owned(),
            process: "process".to_owned(),
            stage: "stage".to_owned(),
            step: "step".to_owned(),
            ..Job::default()
        };
        Self { job, input: Ok(Value::Object(serde_json::Map::new())), stop_after: None, gone_after: None }
    }

    /// The flow's input: what serializes to an object.
    #[must_use]
    pub fn input(mut self, input: impl Serialize) -> Self {
        self.input = serde_json::to_value(input).map_err(|error| error.to_string());
        self
    }

    /// Another attempt than the first.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.job.attempt = attempt;
        self
    }

    /// A question about a condition instead of a background step.
    #[must_use]
    pub fn evaluation(mut self) -> Self {
        "EVALUATION".clone_into(&mut self.job.kind);
        self
    }

    /// Another job than the one that all tests have.
    #[must_use]
    pub fn job(mut self, id: impl Into<String>) -> Self {
        self.job.job = id.into();
        self
    }

    /// The process, the stage and the step that the job is of.
    #[must_use]
    pub fn step(mut self, process: impl Into<String>, stage: impl Into<String>, step: impl Into<String>) -> Self {
        (self.job.process, self.job.stage, self.job.step) = (process.into(), stage.into(), step.into());
        self
    }

    /// How long the attempt may take, as the step's `timeout` says.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.job.timeout = prost_types::Duration::try_from(timeout).ok();
        self
    }

    /// How long the attempt may be silent, as the step's `heartbeat` says.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.job.heartbeat_interval = prost_types::Duration::try_from(interval).ok();
        self
    }

    /// The worker stops after this time, and does not wait for the handler: the attempt is cancelled.
    #[must_use]
    pub fn stopped_after(mut self, time: Duration) -> Self {
        self.stop_after = Some(time);
        self
    }

    /// After this time the server takes no report of the attempt any more, as when the submission was recalled. The worker finds
    /// that out by its next report, and cancels the attempt.
    #[must_use]
    pub fn dead_after(mut self, time: Duration) -> Self {
        self.gone_after = Some(time);
        self
    }

    /// Has a worker of this plan carry the job out. What the plan says of servers is not looked at.
    ///
    /// The input is none that a job can have: it serializes to no object, or holds what a server does not take.
    pub async fn run(self, worker: &WorkerBuilder) -> Tested {
        let fields = match self.input {
            Ok(Value::Object(fields)) => fields,
            Ok(other) => panic!("the input of a flow is an object, not {other}"),
            Err(error) => panic!("the input of the test cannot be written as JSON: {error}"),
        };
        let input = json::struct_of(fields).unwrap_or_else(|error| panic!("{}", error.of("the input of the test")));
        let job = Job { input: Some(input), ..self.job };
        let server = Arc::new(Server::default());
        let core = Core::new(worker.clone(), server.clone());
        let Entered::New(entry) = core.ledger.enter(&job, Hold::Stream) else {
            unreachable!("nothing was entered into this ledger before")
        };
        let place = Places::new(1).take();
        let stop = async {
            if let Some(after) = self.stop_after {
                time::sleep(after).await;
                core.hard_stop.cancel();
            }
            std::future::pending::<()>().await;
        };
        let go = async {
            if let Some(after) = self.gone_after {
                time::sleep(after).await;
                server.lock().gone = true;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = attempt::carry_out(&core, job, &entry, &place) => {}
            () = stop => {}
            () = go => {}
        }
        let told = std::mem::take(&mut server.lock().reports);
        tested(&told)
    }
}

impl Tested {
    /// The output, read as this type.
    ///
    /// What the attempt failed with; `DROPPED` where it reported nothing, and `OUTPUT_INVALID` where the output is not of this type.
    pub fn output<O: DeserializeOwned>(&self) -> Result<O, FlowError> {
        match &self.outcome {
            Outcome::Completed(output) => serde_json::from_value(output.clone())
                .map_err(|error| FlowError::permanent("OUTPUT_INVALID", error.to_string())),
            Outcome::Failed(error) => Err(error.clone()),
            Outcome::Dropped => Err(FlowError::new("DROPPED", "the attempt reported nothing")),
        }
    }

    /// What the attempt failed with, if it did.
    pub fn error(&self) -> Option<&FlowError> {
        match &self.outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Completed(_) | Outcome::Dropped => None,
        }
    }
}

fn tested(reports: &[JobReport]) -> Tested {
    let count = |status: &str| reports.iter().filter(|report| report.status == status).count();
    let mut tested = Tested {
        outcome: Outcome::Dropped,
        effects: Vec::new(),
        started: count("STARTED") > 0,
        heartbeats: count("HEARTBEAT"),
    };
    for report in reports {
        match report.status.as_str() {
            "COMPLETED" => {
                tested.outcome = Outcome::Completed(json::value_of(report.output.clone().unwrap_or_default()));
                tested.effects = report.effects.iter().filter_map(|effect| effect.effect.clone()).map(effect).collect();
            }
            "FAILED" => {
                let error = report.error.clone().unwrap_or_default();
                let retryable = error.retryable.unwrap_or(true);
                tested.outcome = Outcome::Failed(FlowError { code: error.code, message: error.message, retryable });
            }
            _ => {}
        }
    }
    tested
}

fn effect(effect: job_effect::Effect) -> Effect {
    match effect {
        job_effect::Effect::Comment(comment) => Effect::Comment(comment),
        job_effect::Effect::RecordPatch(patch) => Effect::RecordPatch(json::value_of(patch)),
        job_effect::Effect::Event(event) => Effect::Event(EmittedEvent::of_message(event)),
    }
}

/// The other side: keeps what it is told.
#[derive(Default)]
struct Server(Mutex<Told>);

#[derive(Default)]
struct Told {
    reports: Vec<JobReport>,
    /// No report counts any more.
    gone: bool,
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, Told> {
        // A panic while the lock was held leaves it whole: every change is one assignment or push.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Server {
    fn take_jobs(
        self: Arc<Self>,
        _share: Share,
        _places: Arc<Places>,
        _jobs: mpsc::Sender<Incoming>,
        _stop: CancellationToken,
        _end: CancellationToken,
    ) -> BoxFuture<'static, Result<(), WorkerError>> {
        // A test brings its job itself.
        async { Ok(()) }.boxed()
    }

    fn report(&self, report: JobReport) -> BoxFuture<'_, Result<(), ReportError>> {
        async move {
            let mut told = self.lock();
            if told.gone {
                return Err(ReportError::Refused("ATTEMPT_NOT_LIVE".to_owned()));
            }
            told.reports.push(report);
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
