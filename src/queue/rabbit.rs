//! The queue over `RabbitMQ` 3.10 to 4.x.
//!
//! Two connections, because a broker that runs out of memory or disk stops to read from connections that publish, and the
//! acknowledgements of deliveries must not wait behind that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use lapin::uri::AMQPUri;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use self::{
    connection::{Link, Links, Target},
    consumer::{Consumption, Source},
    publisher::{Outcome, Outgoing, Publisher, unavailable},
};
use crate::{
    metrics::COUNTED,
    proto::{
        self,
        v1::{Job, JobError, JobReport, RecordChange},
    },
    queue::{
        BODY_BYTES_MAX, Delivery, LifecycleEvent, Names, OUTPUT_INVALID, Published, Queue, QueueType, QueueUnavailable,
        Served, TASK_QUEUE_NAME_MAX, is_task_queue_name, topology,
    },
};

mod connection;
mod consumer;
mod dead;
mod properties;
mod publisher;

pub use dead::{DeadLetter, DeadLetters, DeadLettersError, Fate, Looked, NotRequeued};

/// Reports taken from the broker and not yet settled: a few commits' worth of a busy server, and at most 256 MiB.
const RESULTS_PREFETCH: u16 = 1000;

/// How long the broker may take to say how its queues stand: somebody waits for the answer.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many task queues are declared at once.
const DECLARED_AT_ONCE_MAX: usize = 16;

/// Changes of records taken from the broker and not yet settled.
const RECORDS_PREFETCH: u16 = 100;

/// How to reach the broker, and what to find there.
#[derive(Clone)]
pub struct RabbitConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` where the `amqps` feature is built in.
    pub url: String,
    /// What all names on the broker begin with.
    pub prefix: String,
    /// The type of queues that do not exist yet.
    pub queue_type: QueueType,
    /// Shown by the broker's tools, and in logs.
    pub connection_name: String,
}

impl RabbitConfig {
    /// A broker with the names of DESIGN 6.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: "quorate".to_owned(),
            queue_type: QueueType::Auto,
            connection_name: "quorate".to_owned(),
        }
    }
}

impl fmt::Debug for RabbitConfig {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitConfig")
            .field("prefix", &self.prefix)
            .field("queue_type", &self.queue_type)
            .field("connection_name", &self.connection_name)
            .finish_non_exhaustive()
    }
}

/// The URL of the broker cannot be used. Does not repeat it, because it holds a password.
#[derive(Debug, thiserror::Error)]
#[error("the AMQP URL cannot be used: {0}")]
pub struct InvalidAmqpUrl(String);

/// The queue over `RabbitMQ`. It connects and reconnects by itself until it is closed or dropped.
pub struct RabbitQueue {
    names: Names,
    publisher: Arc<Publisher>,
    publishing: Links,
    consuming: Links,
    /// Whether the last events were not confirmed.
    events_unconfirmed: AtomicBool,
    closing: DropGuard,
}

impl RabbitQueue {
    /// Begins to connect, in the tokio runtime that it is called in. A broker that is away is no error: until it is back,
    /// nothing is published and nothing comes in.
    pub fn connect(config: &RabbitConfig) -> Result<Self, InvalidAmqpUrl> {
        let uri: AMQPUri = config.url.parse().map_err(InvalidAmqpUrl)?;
        if cfg!(not(feature = "amqps")) && uri.scheme == lapin::uri::AMQPScheme::AMQPS {
            return Err(InvalidAmqpUrl("this program was built without the feature `amqps`".to_owned()));
        }
        let names = Names::new(&config.prefix);
        let closing = CancellationToken::new();
        let supervise = |purpose: &str| {
            let target = Target {
                uri: uri.clone(),
                name: format!("{} {purpose}", config.connection_name),
                names: names.clone(),
                queue_type: config.queue_type,
            };
            Links::supervise(target, closing.clone())
        };
        let publishing = supervise("publish");
        let consuming = supervise("consume");
        let publisher = Arc::new(Publisher::new(publishing.clone()));
        let closing = closing.drop_guard();
        Ok(Self { names, publisher, publishing, consuming, events_unconfirmed: AtomicBool::new(false), closing })
    }

    fn consume(&self, source: Source, unsettled_max: u16) -> Consumption {
        Consumption {
            links: self.consuming.clone(),
            publisher: self.publisher.clone(),
            names: self.names.clone(),
            source,
            unsettled_max,
        }
    }

    fn outgoing(&self, job: &Job) -> Result<Outgoing, Published> {
        if !is_task_queue_name(&job.task_queue) {
            return Err(Published::Refused(format!(
                "the task queue's name is not 1 to {TASK_QUEUE_NAME_MAX} of a-z 0-9 . _ -"
            )));
        }
        let body = proto::to_json(job).map_err(|error| Published::Refused(error.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(Published::Refused(format!(
                "the job has {} bytes as JSON, at most {BODY_BYTES_MAX} are allowed",
                body.len()
            )));
        }
        Ok(Outgoing {
            exchange: self.names.jobs_exchange(),
            routing_key: job.task_queue.clone(),
            properties: properties::own(&format!("{}/{}", job.job, job.attempt), "application/json"),
            mandatory: true,
            body,
        })
    }
}

/// Messages on their way out, each with its place among the answers.
type Numbered = Vec<(usize, Outgoing)>;

impl RabbitQueue {
    /// Publishes jobs to task queues that are declared. Gives back those whose queue is not there any more.
    async fn publish_jobs(
        &self,
        link: &Arc<Link>,
        messages: Numbered,
        answers: &mut [Published],
    ) -> Result<Numbered, QueueUnavailable> {
        if messages.is_empty() {
            return Ok(messages);
        }
        let batch: Vec<&Outgoing> = messages.iter().map(|(_, message)| message).collect();
        let outcomes = self.publisher.publish(link, &batch).await?;
        let mut returned = Vec::new();
        for ((index, message), outcome) in messages.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Confirmed => answers[index] = Published::Confirmed,
                Outcome::Unconfirmed(reason) => answers[index] = Published::Unconfirmed(reason),
                Outcome::Returned => {
                    link.forget_task_queue(&message.routing_key);
                    returned.push((index, message));
                }
            }
        }
        Ok(returned)
    }
}

async fn in_time<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, QueueUnavailable> {
    match tokio::time::timeout(COUNT_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| unavailable(&error)),
        Err(_) => Err(QueueUnavailable("the broker does not answer".to_owned())),
    }
}

/// Declares the task queues of messages. Gives back those whose task queue is there; the others are to be published later.
async fn declare(link: &Link, messages: Numbered, answers: &mut [Published]) -> Numbered {
    let names: BTreeSet<String> = messages.iter().map(|(_, message)| message.routing_key.clone()).collect();
    let failed: BTreeMap<String, QueueUnavailable> = stream::iter(names)
        .map(|name| async move { link.declare_task_queue(&name).await.err().map(|error| (name, error)) })
        .buffer_unordered(DECLARED_AT_ONCE_MAX)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    let mut declared = Vec::with_capacity(messages.len());
    for (index, message) in messages {
        match failed.get(&message.routing_key) {
            Some(QueueUnavailable(reason)) => answers[index] = Published::Unconfirmed(reason.clone()),
            None => declared.push((index, message)),
        }
    }
    declared
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, jobs: Vec<Job>) -> Result<Vec<Published>, QueueUnavailable> {
        let link = self.publisher.link()?;
        let mut answers = vec![Published::Confirmed; jobs.len()];
        let mut messages = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            match self.outgoing(job) {
                Ok(message) => messages.push((index, message)),
                Err(refused) => answers[index] = refused,
            }
        }
        // First what needs no declaration: a queue that hangs while it is declared must not hold up the others.
        let (known, unknown) = messages.into_iter().partition(|(_, message)| link.has_declared(&message.routing_key));
        let mut left = self.publish_jobs(&link, known, &mut answers).await?;
        left.extend::<Vec<_>>(unknown);
        // The second time only with what came back: a queue had been deleted since it was declared.
        for _ in 0..2 {
            if left.is_empty() {
                break;
            }
            let declared = declare(&link, left, &mut answers).await;
            left = self.publish_jobs(&link, declared, &mut answers).await?;
        }
        // Somebody is taking the queue away again and again: the job is good, and goes out when they leave it alone.
        for (index, message) in left {
            tracing::error!(task_queue = message.routing_key, "no queue takes the jobs of a task queue");
            answers[index] =
                Published::Unconfirmed(format!("no queue takes it for the task queue {}", message.routing_key));
        }
        COUNTED.refused("jobs", &answers);
        Ok(answers)
    }

    async fn publish_events(&self, events: Vec<LifecycleEvent>) -> Result<Vec<Published>, QueueUnavailable> {
        let link = self.publisher.link()?;
        let mut answers = vec![Published::Confirmed; events.len()];
        let mut messages = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let body = event.body.to_string().into_bytes();
            if body.len() > BODY_BYTES_MAX {
                let reason =
                    format!("event {} has {} bytes, at most {BODY_BYTES_MAX} are allowed", event.id, body.len());
                answers[index] = Published::Refused(reason);
                continue;
            }
            let message = Outgoing {
                exchange: self.names.events_exchange(),
                routing_key: event.routing_key,
                properties: properties::own(&event.id, "application/cloudevents+json; charset=UTF-8"),
                mandatory: false,
                body,
            };
            messages.push((index, message));
        }
        let batch: Vec<&Outgoing> = messages.iter().map(|(_, message)| message).collect();
        let mut unconfirmed = None;
        for ((index, _), outcome) in messages.iter().zip(self.publisher.publish(&link, &batch).await?) {
            answers[*index] = match outcome {
                Outcome::Confirmed | Outcome::Returned => Published::Confirmed,
                Outcome::Unconfirmed(reason) => {
                    unconfirmed.get_or_insert_with(|| reason.clone());
                    Published::Unconfirmed(reason)
                }
            };
        }
        // Said once until they are confirmed again: a queue that refuses them does so each time.
        let were_unconfirmed = self.events_unconfirmed.swap(unconfirmed.is_some(), Ordering::Relaxed);
        if let Some(reason) = unconfirmed.filter(|_| !were_unconfirmed) {
            warn!(reason, "events could not be published: they wait in the outbox");
        }
        COUNTED.refused("events", &answers);
        Ok(answers)
    }

    fn reports(&self) -> BoxStream<'static, Delivery<JobReport>> {
        self.consume(Source::Results, RESULTS_PREFETCH).stream_with(result_that_cannot_be_read)
    }

    fn record_changes(&self) -> BoxStream<'static, Delivery<RecordChange>> {
        let changes = self.consume(Source::Records, RECORDS_PREFETCH).stream();
        changes
            .map(|Delivery { mut body, acknowledge, message_id, place }: Delivery<RecordChange>| {
                if body.request_id.is_empty() {
                    body.request_id = message_id.clone().unwrap_or_default();
                }
                Delivery { body, message_id, acknowledge, place }
            })
            .boxed()
    }

    fn jobs(&self, task_queues: Vec<String>, concurrency: u16) -> BoxStream<'static, Delivery<Job>> {
        // The caller has checked the names; a wrong one must not become the name of a queue, and without any the stream ends.
        let task_queues: Vec<String> = task_queues.into_iter().filter(|name| is_task_queue_name(name)).collect();
        if task_queues.is_empty() {
            return stream::empty().boxed();
        }
        self.consume(Source::TaskQueues(task_queues), concurrency.max(1)).stream()
    }

    async fn served(&self, task_queues: &[String]) -> Result<Vec<Option<Served>>, QueueUnavailable> {
        let link = self.publisher.link()?;
        let mut seen = Vec::with_capacity(task_queues.len());
        let looked = topology::look(&link.connection, &self.names, task_queues, &mut seen);
        let looked = in_time(looked).await;
        // What it has said by then is worth something.
        if seen.is_empty() {
            looked?;
        }
        let mut served: Vec<Option<Served>> = seen.into_iter().map(Some).collect();
        served.resize(task_queues.len(), None);
        Ok(served)
    }

    async fn dead_letters(&self) -> Result<u64, QueueUnavailable> {
        let link = self.publisher.link()?;
        in_time(topology::dead_letters(&link.connection, &self.names)).await.map(u64::from)
    }

    fn is_connected(&self) -> bool {
        self.publisher.link().is_ok()
    }

    async fn close(&self) {
        self.closing.token().cancel();
        self.publishing.clone().closed().await;
        self.consuming.clone().closed().await;
    }
}

/// What a flow's result says that cannot be read, or is too large, where it is known of which attempt it is: that this has failed, for
/// good. Who sent it is done with the attempt, and would come to the same result again.
fn result_that_cannot_be_read(body: &[u8], reason: &str) -> Option<JobReport> {
    #[derive(serde::Deserialize)]
    struct Sender {
        job: String,
        attempt: u32,
        token: String,
        status: String,
    }
    let Sender { job, attempt, token, status } = serde_json::from_slice(body).ok()?;
    if !matches!(status.as_str(), "COMPLETED" | "FAILED") {
        return None;
    }
    let error = JobError { code: OUTPUT_INVALID.to_owned(), message: reason.to_owned(), retryable: Some(false) };
    Some(JobReport { job, attempt, token, status: "FAILED".to_owned(), error: Some(error), ..JobReport::default() })
}
