//! How a worker is put together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    future::Future,
    process,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    FlowError, JobContext, Worker,
    flow::{self, Flows, Handler},
    layer::{self, Layer, Next},
    limits::{Limit, Rate, Share},
    workflow::Workflows,
};

/// Jobs carried out at once, where the builder does not say.
const CONCURRENCY_DEFAULT: u16 = 16;

/// What a server grants one worker (`job_service.proto`).
const CONCURRENCY_MAX: u16 = 1000;

/// How long running handlers may take when the worker stops, where the builder does not say: what container platforms
/// allow by default.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// When a running job is acknowledged (DESIGN 6): well before the half hour after which `RabbitMQ` closes a channel.
const LONG_JOB_AFTER_DEFAULT: Duration = Duration::from_mins(5);

/// A worker cannot be built as described.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorker {
    /// `url` is missing, or cannot be used. Does not repeat it: it may hold a password.
    #[error("the URL cannot be used: {0}")]
    Url(String),
    /// A task queue's name is not 1 to 64 of `a-z 0-9 . _ -`.
    #[error("`{0}` is no name of a task queue: it has to be 1 to 64 of a-z 0-9 . _ -")]
    TaskQueue(String),
    /// The concurrency is out of bounds.
    #[error("the concurrency has to be 1 to 1000, not {0}")]
    Concurrency(u16),
    /// The concurrency of one task queue is out of bounds.
    #[error("the concurrency of the task queue `{0}` has to be 1 to 1000, not {1}")]
    TaskQueueConcurrency(String, u16),
    /// The rate of one task queue is out of bounds.
    #[error("the rate of the task queue `{0}` has to be of 1 to 10000 jobs, in a time of at most a day")]
    TaskQueueRate(String),
    /// There is nothing to serve.
    #[error("there is no flow to serve")]
    NoFlow,
    /// Two handlers have the same name.
    #[error("the flow `{0}` has two handlers")]
    FlowTwice(String),
    /// A flow's timeout is no time.
    #[error("the timeout of the flow `{0}` has to be longer than 0")]
    FlowTimeout(String),
    /// A metadata entry or the token cannot be sent.
    #[error("the metadata `{0}` cannot be sent")]
    Metadata(String),
}

/// Puts a [`Worker`] together.
#[derive(Clone)]
pub struct WorkerBuilder {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) ca_certificate: Option<Vec<u8>>,
    pub(crate) prefix: String,
    pub(crate) task_queues: BTreeSet<String>,
    limits: BTreeMap<String, Limit>,
    pub(crate) concurrency: u16,
    pub(crate) grace: Duration,
    pub(crate) long_job_after: Duration,
    pub(crate) manual_heartbeat: bool,
    pub(crate) name: String,
    pub(crate) flows: Flows,
    pub(crate) layers: Vec<Layer>,
    pub(crate) flow_timeouts: HashMap<String, Duration>,
    twice: Option<String>,
}

impl Default for WorkerBuilder {
    fn default() -> Self {
        Self {
            url: String::new(),
            token: None,
            metadata: Vec::new(),
            ca_certificate: None,
            prefix: "quorate".to_owned(),
            task_queues: BTreeSet::new(),
            limits: BTreeMap::new(),
            concurrency: CONCURRENCY_DEFAULT,
            grace: GRACE_DEFAULT,
            long_job_after: LONG_JOB_AFTER_DEFAULT,
            manual_heartbeat: false,
            name: format!("{}:{}", host_name(), process::id()),
            flows: Flows::default(),
            layers: Vec::new(),
            flow_timeouts: HashMap::new(),
            twice: None,
        }
    }
}

impl WorkerBuilder {
    /// Where the jobs are: `amqp://` or `amqps://` for a broker, `http://` or `https://` for a server's gRPC. The URL alone
    /// decides which way the worker goes.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// gRPC: the API token, sent as `authorization: Bearer …`.
    #[must_use]
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// gRPC: sent with every call. For development servers, which take callers at their word.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// gRPC over `https://`: the certificates, in PEM form, of the authorities that the server's certificate is checked
    /// against. Needed for `https://`: the worker brings none of its own.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate = Some(pem.into());
        self
    }

    /// AMQP: what the names on the broker begin with; `quorate` unless the server is configured otherwise.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Serves this task queue too. `default` when none is named.
    #[must_use]
    pub fn task_queue(mut self, name: impl Into<String>) -> Self {
        self.task_queues.insert(name.into());
        self
    }

    /// Serves these task queues too.
    #[must_use]
    pub fn task_queues<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.task_queues.extend(names.into_iter().map(Into::into));
        self
    }

    /// Serves this task queue too, and carries out at most so many of its jobs at once, 1 to 1000. It has these places for itself:
    /// the others share [`concurrency`](Self::concurrency) without it.
    #[must_use]
    pub fn task_queue_concurrency(mut self, name: impl Into<String>, jobs: u16) -> Self {
        self.limit(name.into()).concurrency = Some(jobs);
        self
    }

    /// Serves this task queue too, and begins at most so many of its jobs in a time, whether they are first attempts or later ones.
    /// It has places for itself, as many as [`concurrency`](Self::concurrency) says where
    /// [`task_queue_concurrency`](Self::task_queue_concurrency) does not say otherwise.
    ///
    /// The rate is this worker's: two workers begin twice as many. To protect a system that takes 10 calls a second, let the rates of
    /// all workers that call it add up to 10, or let one worker alone serve its task queue.
    ///
    /// ```
    /// # use quorate_worker::{FlowError, JobContext, Rate, Worker};
    /// # use serde_json::{Value, json};
    /// # use std::time::Duration;
    /// let worker = Worker::builder()
    ///     .url("amqp://localhost")
    ///     .task_queue("default")
    ///     .task_queue_concurrency("erp", 4)
    ///     .task_queue_rate("erp", Rate::new(10, Duration::from_secs(1)))
    ///     .flow("create-order", |_: JobContext, _: Value| async { Ok::<_, FlowError>(json!({})) })
    ///     .build();
    /// assert!(worker.is_ok());
    /// ```
    #[must_use]
    pub fn task_queue_rate(mut self, name: impl Into<String>, rate: Rate) -> Self {
        self.limit(name.into()).rate = Some(rate);
        self
    }

    fn limit(&mut self, name: String) -> &mut Limit {
        self.task_queues.insert(name.clone());
        self.limits.entry(name).or_default()
    }

    /// The task queues as they are served: those that share their places, and each that has places of its own.
    pub(crate) fn shares(&self) -> Vec<Share> {
        let unlimited = self.task_queues.iter().filter(|name| !self.limits.contains_key(*name));
        let common = Share { task_queues: unlimited.cloned().collect(), concurrency: self.concurrency, rate: None };
        let limited = self.limits.iter().map(|(name, limit)| Share {
            task_queues: vec![name.clone()],
            concurrency: limit.concurrency.unwrap_or(self.concurrency),
            rate: limit.rate,
        });
        std::iter::once(common).filter(|common| !common.task_queues.is_empty()).chain(limited).collect()
    }

    /// How many jobs are carried out at once, 1 to 1000; 16 when it is not said. Over AMQP each of several task queues gets
    /// an equal share of it.
    #[must_use]
    pub fn concurrency(mut self, jobs: u16) -> Self {
        self.concurrency = jobs;
        self
    }

    /// How long running handlers may take when the worker stops; 30 s when it is not said. What is not done then goes back.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// AMQP: when a running job is acknowledged, from where on it lives by heartbeats alone; five minutes when it is not said. gRPC: when
    /// the server may have done so (`--long-job-after` of `quorate serve`): a job that is older is reported when the worker stops.
    #[must_use]
    pub fn long_job_after(mut self, long: Duration) -> Self {
        self.long_job_after = long;
        self
    }

    /// Leaves heartbeats to the handlers. Otherwise they are sent while a handler runs, whether or not it gets anywhere.
    #[must_use]
    pub fn manual_heartbeat(mut self) -> Self {
        self.manual_heartbeat = true;
        self
    }

    /// Who the worker is, for people who look for it; the host's name and the process id when it is not said.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Serves a flow. Input and output are objects in JSON, taken and made by serde.
    #[must_use]
    pub fn flow<I, O, F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, FlowError>> + Send + 'static,
    {
        self.handler(name.into(), flow::erase(handler))
    }

    /// Serves every flow that has no handler of its own. [`JobContext::flow`] says which it is.
    #[must_use]
    pub fn default_flow<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(JobContext, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, FlowError>> + Send + 'static,
    {
        self.flows.default = Some(flow::erase(handler));
        self
    }

    /// Bounds each attempt of a flow in this worker, besides what its step says: the earlier of the two ends it. It is counted from
    /// the attempt's STARTED, as the step's `timeout` is, and fails the attempt with `TIMEOUT`, which is retried.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use quorate_worker::{FlowError, JobContext, Worker, testing::TestJob};
    /// # use serde_json::{Value, json};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let worker = Worker::builder()
    ///     .flow("create-order", |job: JobContext, _: Value| async move {
    ///         job.cancelled().await;
    ///         Err::<Value, _>(FlowError::new("CANCELLED", "out of time"))
    ///     })
    ///     .flow_timeout("create-order", Duration::from_millis(20));
    /// let tested = TestJob::new("create-order").run(&worker).await;
    /// assert_eq!(tested.error().unwrap().code, "TIMEOUT");
    /// # });
    /// ```
    #[must_use]
    pub fn flow_timeout(mut self, flow: impl Into<String>, timeout: Duration) -> Self {
        self.flow_timeouts.insert(flow.into(), timeout);
        self
    }

    /// Does something around every handler: tracing, metrics, what all flows need. The first layer that is added is the outermost; each
    /// sees the job, its input, and what becomes of it.
    ///
    /// ```
    /// # use quorate_worker::{FlowError, JobContext, Next, Worker, testing::TestJob};
    /// # use serde_json::{Value, json};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let worker = Worker::builder()
    ///     .layer(|job: JobContext, input: Value, next: Next| async move {
    ///         let begun = std::time::Instant::now();
    ///         let outcome = next.run(job.clone(), input).await;
    ///         println!("{} took {:?}: {}", job.flow(), begun.elapsed(), if outcome.is_ok() { "done" } else { "failed" });
    ///         outcome
    ///     })
    ///     .flow("check-budget", |_: JobContext, _: Value| async { Ok(json!({ "ok": true })) });
    /// assert_eq!(TestJob::new("check-budget").run(&worker).await.output::<Value>(), Ok(json!({ "ok": true })));
    /// # });
    /// ```
    #[must_use]
    pub fn layer<F, Fut>(mut self, layer: F) -> Self
    where
        F: Fn(JobContext, Value, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, FlowError>> + Send + 'static,
    {
        self.layers.push(layer::erase(layer));
        self
    }

    /// Serves declarative flows: jobs that bring their workflow with them, whatever their name.
    #[must_use]
    pub fn workflows(mut self, workflows: Workflows) -> Self {
        self.flows.workflow = Some(workflows.handler());
        self
    }

    pub(crate) fn handler(mut self, name: String, handler: Handler) -> Self {
        if self.flows.by_name.insert(name.clone(), handler).is_some() {
            self.twice = Some(name);
        }
        self
    }

    /// Checks everything, and connects to nothing yet.
    pub fn build(mut self) -> Result<Worker, InvalidWorker> {
        if let Some(name) = self.twice.take() {
            return Err(InvalidWorker::FlowTwice(name));
        }
        if self.flows.by_name.is_empty() && self.flows.default.is_none() && self.flows.workflow.is_none() {
            return Err(InvalidWorker::NoFlow);
        }
        if let Some((flow, _)) = self.flow_timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            return Err(InvalidWorker::FlowTimeout(flow.clone()));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(InvalidWorker::Concurrency(self.concurrency));
        }
        for (name, Limit { concurrency, rate }) in &self.limits {
            if let Some(jobs) = concurrency.filter(|jobs| !(1..=CONCURRENCY_MAX).contains(jobs)) {
                return Err(InvalidWorker::TaskQueueConcurrency(name.clone(), jobs));
            }
            if rate.is_some_and(|rate| !rate.is_within_bounds()) {
                return Err(InvalidWorker::TaskQueueRate(name.clone()));
            }
        }
        if self.task_queues.is_empty() {
            self.task_queues.insert("default".to_owned());
        }
        if let Some(name) = self.task_queues.iter().find(|name| !is_task_queue_name(name)) {
            return Err(InvalidWorker::TaskQueue(name.clone()));
        }
        Worker::new(self)
    }
}

/// The same rule as the server's: whatever passes goes into queue names as it is.
fn is_task_queue_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

pub(crate) fn host_name() -> String {
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "worker".to_owned(),
    }
}
