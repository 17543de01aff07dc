//! What lies in `quorate.dead`: to be looked at, and to be given back to the queues that it came from.
//!
//! A look takes the messages one by one without acknowledging them, and hands them back at its end. Whatever dies meanwhile, the broker
//! hands them back itself. A letter that goes anywhere is published and confirmed first and acknowledged then: dying in between leaves
//! two copies, never none.

use std::time::Duration;

use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use sha2::{Digest, Sha256};
use tokio::time;

use super::{
    InvalidAmqpUrl, RabbitConfig,
    properties::{DELIVERY_COUNT, carried_over},
};
use crate::queue::{Names, topology::is_not_found};

/// For the handshake, and for each answer of the broker. One that takes longer is not there any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A quorum queue drops a message that came back more often than its delivery limit says, which is 20 in `RabbitMQ` 4 where nobody has set
/// one. A letter that has come back this often is put into the queue anew, well before that, so that looking never loses one.
const RETURNS_MAX: u64 = 8;

/// Bytes of the digest that an id shows: few enough to type, and no two of a million letters are likely to share it.
const ID_BYTES: usize = 6;

/// What a message is given when it dies, by the server or by the broker, and what it must not carry when it lives again.
const HEADERS_OF_DEATH: [&str; 10] = [
    "x-quorate-reason",
    "x-quorate-queue",
    "x-quorate-died-at",
    "x-death",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-first-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-last-death-exchange",
];

/// Why the dead letters could not be looked at, or one could not be given back.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] InvalidAmqpUrl),
    /// The broker is not there, or went away. What was not acknowledged is where it was.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such queue: no server with this prefix has ever been connected to this broker.
    #[error("there is no queue {0} on this broker")]
    NoQueue(String),
}

impl From<lapin::Error> for DeadLettersError {
    fn from(error: lapin::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// One dead message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Made from what the letter is: the same each time one looks. Letters that are alike in everything share one.
    pub id: String,
    /// The queue that it came from; empty where nobody says.
    pub queue: String,
    /// Why it died; empty where nobody says.
    pub reason: String,
    /// When, in seconds since 1970, where somebody says.
    pub died_at: Option<u64>,
    /// The id that whoever published it gave to it.
    pub message_id: Option<String>,
    /// As it came.
    pub body: Vec<u8>,
}

/// What is to become of a letter that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stay,
    /// It goes back to the queue that it came from.
    Requeue,
    /// It stays, and so do all that come after it, which are not looked at.
    Stop,
}

/// A letter that could not go back, and why. It stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRequeued {
    /// The letter's id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// What one look did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Letters that went back, by their ids.
    pub requeued: Vec<String>,
    /// Letters that were to go back and could not.
    pub not_requeued: Vec<NotRequeued>,
}

/// The dead letters of one broker, over a connection of their own.
pub struct DeadLetters {
    names: Names,
    connection: Connection,
    channel: Channel,
}

impl DeadLetters {
    /// Connects. Declares nothing: who looks at a broker must not change it.
    pub async fn open(config: &RabbitConfig) -> Result<Self, DeadLettersError> {
        let uri: AMQPUri = config.url.parse().map_err(InvalidAmqpUrl)?;
        if cfg!(not(feature = "amqps")) && uri.scheme == lapin::uri::AMQPScheme::AMQPS {
            return Err(InvalidAmqpUrl("this program was built without the feature `amqps`".to_owned()).into());
        }
        let properties = ConnectionProperties::default().with_connection_name(config.connection_name.as_str().into());
        let connection = in_time(Connection::connect_uri(uri, properties)).await?;
        let channel = in_time(connection.create_channel()).await?;
        in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { names: Names::new(&config.prefix), connection, channel })
    }

    /// Shows each letter that is there now, the oldest first, and does with it as `judge` says. Letters that somebody else looks at in
    /// the same moment are not seen. Each is read, judged and forgotten, so that the memory needed does not grow with their number.
    pub async fn look(&self, mut judge: impl FnMut(&DeadLetter) -> Fate) -> Result<Looked, DeadLettersError> {
        let queue = self.names.dead_queue();
        let mut looked = Looked::default();
        // What dies, or dies again, while we look comes behind these.
        for _ in 0..self.count(&queue).await? {
            let got = in_time(self.channel.basic_get(queue.as_str().into(), BasicGetOptions::default())).await?;
            let Some(message) = got else { break };
            let delivery = message.delivery;
            let letter = read(&delivery);
            let fate = judge(&letter);
            if fate == Fate::Requeue {
                match self.requeue(&letter, &delivery).await? {
                    Ok(()) => {
                        looked.requeued.push(letter.id);
                        continue;
                    }
                    Err(reason) => looked.not_requeued.push(NotRequeued { id: letter.id, reason }),
                }
            }
            self.keep(&queue, &delivery).await?;
            if fate == Fate::Stop {
                break;
            }
        }
        // Only now, or the next one taken would be the first again.
        let all = BasicNackOptions { multiple: true, requeue: true };
        in_time(self.channel.basic_nack(0, all)).await?;
        Ok(looked)
    }

    /// Closes the connection in good order.
    pub async fn close(self) {
        // The broker notices an end without a word as well, and has back what was not acknowledged.
        let _ = in_time(self.connection.close(200, "OK".into())).await;
    }

    async fn count(&self, queue: &str) -> Result<u32, DeadLettersError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared =
            time::timeout(ANSWER_TIMEOUT, self.channel.queue_declare(queue.into(), passive, FieldTable::default()));
        match declared.await.map_err(|_| too_slow())? {
            Ok(declared) => Ok(declared.message_count()),
            Err(error) if is_not_found(&error) => Err(DeadLettersError::NoQueue(queue.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a letter back to its queue. The inner error: it cannot go there, and stays.
    async fn requeue(&self, letter: &DeadLetter, delivery: &Delivery) -> Result<Result<(), String>, DeadLettersError> {
        if letter.queue.is_empty() {
            return Ok(Err("nothing says which queue it came from".to_owned()));
        }
        // A header says where it came from, and anybody who may publish can write one: it must not lead out of the installation.
        if !self.names.has_queue(&letter.queue) {
            return Ok(Err(format!("{} is not a queue that letters go back to", letter.queue)));
        }
        if self.publish(&letter.queue, delivery, &HEADERS_OF_DEATH).await? {
            in_time(delivery.acker.ack(BasicAckOptions::default())).await?;
            Ok(Ok(()))
        } else {
            Ok(Err(format!("there is no queue {}", letter.queue)))
        }
    }

    /// Leaves a letter to be handed back at the end, unless the queue would drop it for having come back too often.
    async fn keep(&self, queue: &str, delivery: &Delivery) -> Result<(), DeadLettersError> {
        let returns = header(delivery, DELIVERY_COUNT).and_then(number).unwrap_or(0);
        if returns >= RETURNS_MAX && self.publish(queue, delivery, &[]).await? {
            in_time(delivery.acker.ack(BasicAckOptions::default())).await?;
        }
        Ok(())
    }

    /// Publishes what was delivered to a queue, without some of its headers. Whether there is such a queue.
    async fn publish(&self, queue: &str, delivery: &Delivery, without: &[&str]) -> Result<bool, DeadLettersError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = carried_over(&delivery.properties, without);
        let sent = in_time(self.channel.basic_publish("".into(), queue.into(), options, &delivery.data, properties));
        match in_time(sent.await?).await? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(true),
            // One at a time is under way, so that what comes back is this one.
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(false),
            Confirmation::Nack(None) => {
                Err(DeadLettersError::Unavailable("the broker takes no messages at the moment".to_owned()))
            }
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, DeadLettersError> {
    Ok(time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| too_slow())??)
}

fn too_slow() -> DeadLettersError {
    DeadLettersError::Unavailable("the broker does not answer".to_owned())
}

/// Quorate's own headers come first: where there are both, the server has buried what a broker had once handed on.
fn read(delivery: &Delivery) -> DeadLetter {
    let text_of = |name| header(delivery, name).and_then(text);
    let queue = text_of("x-quorate-queue").or_else(|| text_of("x-first-death-queue")).unwrap_or_default();
    let reason = text_of("x-quorate-reason").or_else(|| text_of("x-first-death-reason")).unwrap_or_default();
    let died_at = header(delivery, "x-quorate-died-at").or_else(|| last_death(delivery)).and_then(number);
    let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string).filter(|id| !id.is_empty());
    let mut digest = Sha256::new();
    for part in [queue.as_bytes(), reason.as_bytes(), message_id.as_deref().unwrap_or_default().as_bytes()] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.update(died_at.unwrap_or(0).to_be_bytes());
    digest.update(&delivery.data);
    let number = digest.finalize().iter().take(ID_BYTES).fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
    let id = format!("{number:0width$x}", width = 2 * ID_BYTES);
    DeadLetter { id, queue, reason, died_at, message_id, body: delivery.data.clone() }
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}

/// When the broker last handed it on. It writes the latest first.
fn last_death(delivery: &Delivery) -> Option<&AMQPValue> {
    match header(delivery, "x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => death.inner().get("time"),
            _ => None,
        },
        _ => None,
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(value: &AMQPValue) -> Option<u64> {
    match *value {
        AMQPValue::Timestamp(number) => Some(number),
        AMQPValue::LongLongInt(number) => u64::try_from(number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(number).ok(),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => u64::try_from(number).ok(),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::ShortShortInt(number) => u64::try_from(number).ok(),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        _ => None,
    }
}
