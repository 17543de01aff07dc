//! The way to the workers: jobs go out, reports come in.
//!
//! A queue may lose everything it holds: the store's outbox brings every open job back (DESIGN 4, invariant 3). So a queue
//! promises only this: what it confirmed it will deliver unless it dies, and a delivery that is not acknowledged comes again.
//!
//! [`RabbitQueue`] is the queue of a deployment, [`MemoryQueue`] that of the embedded server and of simulations.

use std::sync::Weak;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::proto::{
    self,
    v1::{Job, JobReport, RecordChange},
};

mod memory;
// The same file in both: the worker knows nothing of this program, and this program does not link the worker for what it does itself.
#[path = "../worker/src/places.rs"]
mod places;
mod rabbit;
mod topology;

pub use memory::MemoryQueue;
pub(crate) use places::Place;
pub use rabbit::{
    DeadLetter, DeadLetters, DeadLettersError, Fate, InvalidAmqpUrl, Looked, NotRequeued, RabbitConfig, RabbitQueue,
};
pub use topology::{Names, QueueType, TASK_QUEUE_NAME_MAX, is_task_queue_name};

/// The bound of a job's or a report's JSON, in bytes (DESIGN 6).
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// What an attempt fails with whose result cannot be taken.
pub(crate) const OUTPUT_INVALID: &str = "OUTPUT_INVALID";

/// How many bytes of JSON a message has, where these are more than may be. Without writing JSON for what is clearly below the bound:
/// as JSON a message is at most six times as long (a control character becomes `\\u0000`), plus the names of its fields.
pub(crate) fn excess<M>(message: &M) -> Option<usize>
where
    M: prost::Message + prost::Name,
{
    const NAMES_BYTES_MAX: usize = 1024;
    if message.encoded_len() * 6 + NAMES_BYTES_MAX <= BODY_BYTES_MAX {
        return None;
    }
    // What has no JSON form is refused for that, by whoever needs it.
    let bytes = proto::to_json(message).map_or(0, |json| json.len());
    (bytes > BODY_BYTES_MAX).then_some(bytes)
}

/// What became of one published job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker has it.
    Confirmed,
    /// Not taken, or not known to be: it is to be published again later. Others of its batch may have been confirmed.
    Unconfirmed(String),
    /// It will never take it as it is (it is too large, or its task queue has a name that none can have): trying again is no use.
    Refused(String),
}

/// What other systems are told of one event.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleEvent {
    /// What it is about, in two words or more: what subscribers choose by.
    pub routing_key: String,
    /// The same whenever the same is told again.
    pub id: String,
    /// The number of the event in its submission.
    pub sequence: u64,
    /// A `CloudEvent` in its JSON form.
    pub body: serde_json::Value,
}

/// How a task queue stands at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// How many take jobs from it: workers, and servers that hand jobs to workers over gRPC.
    pub consumers: u32,
    /// How many jobs lie in it that nobody has taken.
    pub waiting: u32,
}

/// A queue could not do what was asked just now.
#[derive(Debug, thiserror::Error)]
#[error("the queue is not available: {0}")]
pub struct QueueUnavailable(pub String);

/// Takes part in what becomes of one delivery. Dropped without a call, the delivery comes again.
#[async_trait]
pub trait Acknowledge: Send {
    /// It is done with: it will not come again.
    async fn acknowledge(self: Box<Self>) -> Result<(), QueueUnavailable>;
    /// It goes back, to be delivered again.
    async fn release(self: Box<Self>) -> Result<(), QueueUnavailable>;
    /// It can never be processed: it goes to `quorate.dead` with the reason.
    async fn bury(self: Box<Self>, reason: &str) -> Result<(), QueueUnavailable>;
}

/// A message and the means to settle it.
pub struct Delivery<T> {
    /// The message.
    pub body: T,
    /// The id that whoever sent it gave to it, where they gave one.
    pub message_id: Option<String>,
    /// Settles it.
    pub acknowledge: Box<dyn Acknowledge>,
    /// The place that it takes of those of its stream until it is settled, for whoever has to keep it for longer.
    pub(crate) place: Weak<Place>,
}

/// The way to the workers.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes a batch, each job to its task queue, and waits for all confirms: publishes are streamed, never one at a
    /// time. The answers are in the order of the jobs. `Err`: nothing was published, as far as is known.
    async fn publish(&self, jobs: Vec<Job>) -> Result<Vec<Published>, QueueUnavailable>;

    /// Publishes events for whoever has subscribed to them, in this order, and waits for all confirms. The answers are in the order
    /// of the events. Where nobody has subscribed they are confirmed all the same. `Err`: nothing was published, as far as is known.
    async fn publish_events(&self, events: Vec<LifecycleEvent>) -> Result<Vec<Published>, QueueUnavailable>;

    /// Reports as they come in, for as long as the stream is held. A message that cannot be read is buried and not yielded.
    /// When the connection is lost the stream goes on after reconnecting, with backoff; it ends only when the queue closes.
    /// What is unsettled when the stream is dropped comes again.
    fn reports(&self) -> BoxStream<'static, Delivery<JobReport>>;

    /// Changes of records as other systems tell of them, in the same way. Where nothing comes in from outside but by calls, the
    /// stream is silent.
    fn record_changes(&self) -> BoxStream<'static, Delivery<RecordChange>>;

    /// Jobs of these task queues, at most `concurrency` at a time, each until it is settled and its place is given up: for workers that
    /// come over gRPC. What there is no place for stays in the queue, for others.
    /// As `reports`, it survives a lost connection; what was unsettled then comes again.
    fn jobs(&self, task_queues: Vec<String>, concurrency: u16) -> BoxStream<'static, Delivery<Job>>;

    /// How these task queues stand, in the order of the names; none where the broker has not said so in time. Changes nothing.
    async fn served(&self, task_queues: &[String]) -> Result<Vec<Option<Served>>, QueueUnavailable>;

    /// How many messages lie in `quorate.dead`.
    async fn dead_letters(&self) -> Result<u64, QueueUnavailable>;

    /// Whether jobs can be published at this moment, for health and for logs.
    fn is_connected(&self) -> bool;

    /// Stops: no new deliveries; what is unsettled comes again elsewhere.
    async fn close(&self);
}
