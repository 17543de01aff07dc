//! What a worker needs to find on the broker (DESIGN 6). The server declares the same; whoever comes first makes it.

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

/// The names on the broker.
#[derive(Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn jobs_queue(&self, task_queue: &str) -> String {
        format!("{}.jobs.{task_queue}", self.prefix)
    }

    pub(crate) fn results_queue(&self) -> String {
        format!("{}.results", self.prefix)
    }

    fn jobs_exchange(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    fn dead_queue(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

/// Declares the queues that this worker takes from and reports to.
pub(crate) async fn declare(connection: &Connection, names: &Names, task_queues: &[String]) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(names.jobs_exchange().into(), ExchangeKind::Direct, durable, FieldTable::default())
        .await?;
    let channel = declare_queue(connection, channel, &names.dead_queue(), FieldTable::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(names.dead_queue().into()));
    let mut channel = declare_queue(connection, channel, &names.results_queue(), arguments.clone()).await?;
    for task_queue in task_queues {
        let queue = names.jobs_queue(task_queue);
        channel = declare_queue(connection, channel, &queue, arguments.clone()).await?;
        channel
            .queue_bind(
                queue.into(),
                names.jobs_exchange().into(),
                task_queue.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

/// Declares a queue of the broker's default type, or adopts the one that exists with another type or other arguments.
/// Answers with the channel to go on with, because a refusal closes the one in use.
async fn declare_queue(
    connection: &Connection,
    channel: Channel,
    name: &str,
    arguments: FieldTable,
) -> lapin::Result<Channel> {
    match channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await {
        Ok(_) => Ok(channel),
        Err(error) if is_precondition_failed(&error) => {
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(name.into(), passive, FieldTable::default()).await?;
            Ok(channel)
        }
        Err(error) => Err(error),
    }
}

fn is_precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)))
}
