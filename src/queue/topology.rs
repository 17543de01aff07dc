//! Everything that Quorate declares on a broker (DESIGN 6), and nowhere else.
//!
//! | name | kind | what |
//! | --- | --- | --- |
//! | `quorate.jobs` | direct exchange | routing key = task queue |
//! | `quorate.jobs.<task_queue>` | durable queue | jobs; dead-letters to `quorate.dead` |
//! | `quorate.results` | durable queue | reports; dead-letters to `quorate.dead` |
//! | `quorate.events` | topic exchange | lifecycle events |
//! | `quorate.records` | durable quorum queue | record changes from other systems |
//! | `quorate.dead` | durable queue | what could not be processed, with the reason |
//!
//! Quorum queues for jobs carry no `x-delivery-limit`: the store decides how often a job is tried, and a broker that
//! dropped a job of its own accord would only make the store publish it again. `RabbitMQ` 4 sets a limit of 20 by itself;
//! what passes it goes to `quorate.dead`, and the job comes again by its timers. Reports and record changes are held, not handed back,
//! while they cannot be processed.

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use tracing::info;

use crate::queue::Served;

/// The longest name of a task queue. With the prefix it stays well below the 255 bytes that AMQP allows a queue name.
pub const TASK_QUEUE_NAME_MAX: usize = 64;

/// What type of queue is declared where there is none yet. Queues that exist are used as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// The broker decides: the default queue type of its virtual host, which is `classic` where nobody has set one.
    ///
    /// DESIGN 6 wants `quorum` on a cluster. How many nodes a cluster has cannot be asked over AMQP 0-9-1 (the server
    /// properties name the cluster, not its members), so on a cluster either say `Quorum` or set the default of the virtual
    /// host (`rabbitmqctl update_vhost_metadata / --default-queue-type quorum`, `RabbitMQ` 3.11 and later).
    #[default]
    Auto,
    /// Classic queues: on one node, and fastest there.
    Classic,
    /// Quorum queues: replicated over the nodes of a cluster.
    Quorum,
}

impl QueueType {
    fn argument(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::Classic => Some("classic"),
            Self::Quorum => Some("quorum"),
        }
    }
}

/// Whether a name may name a task queue: 1 to 64 of `a-z 0-9 . _ -`. Whatever passes goes into queue names as it is.
pub fn is_task_queue_name(name: &str) -> bool {
    (1..=TASK_QUEUE_NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// The names on the broker. The prefix keeps several installations apart on one virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`, which is `quorate` unless configured.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The direct exchange that jobs are published to.
    pub fn jobs_exchange(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    /// The queue of one task queue.
    pub fn jobs_queue(&self, task_queue: &str) -> String {
        format!("{}.jobs.{task_queue}", self.prefix)
    }

    /// The queue that workers report to.
    pub fn results_queue(&self) -> String {
        format!("{}.results", self.prefix)
    }

    /// The topic exchange of lifecycle events.
    pub fn events_exchange(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// The queue that other systems report record changes to.
    pub fn records_queue(&self) -> String {
        format!("{}.records", self.prefix)
    }

    /// Whether this is the name of a queue that messages are processed from, one of those above.
    pub(super) fn has_queue(&self, queue: &str) -> bool {
        let task_queue = queue.strip_prefix(&self.jobs_queue(""));
        task_queue.is_some_and(is_task_queue_name) || queue == self.results_queue() || queue == self.records_queue()
    }

    /// What a queue that messages are processed from is for, as metrics name it.
    pub(super) fn kind_of(&self, queue: &str) -> &'static str {
        if queue == self.results_queue() {
            "results"
        } else if queue == self.records_queue() {
            "records"
        } else {
            "jobs"
        }
    }

    /// The queue of what could not be processed.
    pub fn dead_queue(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

/// Declares all but the task queues, which are declared when they are first used.
pub(super) async fn declare(connection: &Connection, names: &Names, queue_type: QueueType) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for (exchange, kind) in
        [(names.jobs_exchange(), ExchangeKind::Direct), (names.events_exchange(), ExchangeKind::Topic)]
    {
        channel.exchange_declare(exchange.into(), kind, durable, FieldTable::default()).await?;
    }
    let channel = declare_queue(connection, channel, &names.dead_queue(), queue_type, FieldTable::default()).await?;
    // What a broker would drop of its own accord goes to the dead letters.
    let channel = declare_queue(connection, channel, &names.results_queue(), queue_type, dead_lettered(names)).await?;
    // It has no outbox behind it, so that nobody could publish its messages again.
    declare_queue(connection, channel, &names.records_queue(), QueueType::Quorum, dead_lettered(names)).await?;
    Ok(())
}

/// Declares the queue of one task queue and binds it to the jobs exchange.
pub(super) async fn declare_task_queue(
    connection: &Connection,
    names: &Names,
    queue_type: QueueType,
    task_queue: &str,
) -> lapin::Result<()> {
    let arguments = dead_lettered(names);
    let queue = names.jobs_queue(task_queue);
    let channel = connection.create_channel().await?;
    let channel = declare_queue(connection, channel, &queue, queue_type, arguments).await?;
    channel
        .queue_bind(
            queue.into(),
            names.jobs_exchange().into(),
            task_queue.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// Adds how the queue of each task queue stands, as soon as it is known; where there is no such queue, that it is empty and that nobody
/// serves it.
pub(super) async fn look(
    connection: &Connection,
    names: &Names,
    task_queues: &[String],
    seen: &mut Vec<Served>,
) -> lapin::Result<()> {
    let mut channel = connection.create_channel().await?;
    for task_queue in task_queues {
        match channel.queue_declare(names.jobs_queue(task_queue).into(), passive(), FieldTable::default()).await {
            Ok(queue) => seen.push(Served { consumers: queue.consumer_count(), waiting: queue.message_count() }),
            Err(error) if is_not_found(&error) => {
                seen.push(Served::default());
                // The refusal has closed it.
                channel = connection.create_channel().await?;
            }
            Err(error) => return Err(error),
        }
    }
    // One that stays open goes with its last handle.
    Ok(())
}

/// How many messages lie in the dead letters.
pub(super) async fn dead_letters(connection: &Connection, names: &Names) -> lapin::Result<u32> {
    let channel = connection.create_channel().await?;
    let queue = channel.queue_declare(names.dead_queue().into(), passive(), FieldTable::default()).await?;
    Ok(queue.message_count())
}

/// Looks at a queue and changes nothing.
fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() }
}

/// The arguments of a queue whose rejected messages go to the dead letters.
fn dead_lettered(names: &Names) -> FieldTable {
    let mut arguments = FieldTable::default();
    // The default exchange routes by queue name.
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(names.dead_queue().into()));
    arguments
}

/// Declares a queue, or adopts the one that exists under this name with another type or other arguments: an operator, or
/// a worker that came first, has made it. Answers with the channel to go on with, because a refusal closes the one in use.
async fn declare_queue(
    connection: &Connection,
    channel: Channel,
    name: &str,
    queue_type: QueueType,
    mut arguments: FieldTable,
) -> lapin::Result<Channel> {
    if let Some(queue_type) = queue_type.argument() {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
    }
    match channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await {
        Ok(_) => Ok(channel),
        Err(error) if is_soft(&error, &AMQPSoftError::PRECONDITIONFAILED) => {
            info!(queue = name, reason = %error, "the queue exists with other arguments, and is used as it is");
            let channel = connection.create_channel().await?;
            channel.queue_declare(name.into(), passive(), FieldTable::default()).await?;
            Ok(channel)
        }
        Err(error) => Err(error),
    }
}

/// Whether an exchange or a queue is not there.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    is_soft(error, &AMQPSoftError::NOTFOUND)
}

fn is_soft(error: &lapin::Error, wanted: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if matches!(error.kind(), AMQPErrorKind::Soft(kind) if kind == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_queue_names_are_bounded() {
        for good in ["default", "a", "erp.eu-west_1", &"x".repeat(64)] {
            assert!(is_task_queue_name(good), "{good}");
        }
        for bad in ["", "Default", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_task_queue_name(bad), "{bad}");
        }
    }
}
