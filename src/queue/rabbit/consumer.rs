//! Consuming over a connection that comes and goes: one endless stream of readable messages.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Acker, BasicProperties, Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use prost::{Message, Name};
use tracing::{debug, warn};

use super::{
    connection::{Backoff, Link, Links},
    properties::carried_over,
    publisher::{Outcome, Outgoing, Publisher, unavailable},
};
use crate::{
    metrics::COUNTED,
    proto,
    queue::{
        Acknowledge, BODY_BYTES_MAX, Delivery, Names, QueueUnavailable,
        places::{Order, Place, Places},
    },
};

/// The reason of a death is cut to this many characters: it may quote what could not be read.
const REASON_CHARS_MAX: usize = 1000;

/// What to consume.
pub(super) enum Source {
    Results,
    Records,
    TaskQueues(Vec<String>),
}

impl Source {
    fn queues(&self, names: &Names) -> Vec<String> {
        match self {
            Self::Results => vec![names.results_queue()],
            Self::Records => vec![names.records_queue()],
            Self::TaskQueues(task_queues) => task_queues.iter().map(|name| names.jobs_queue(name)).collect(),
        }
    }
}

/// A consumer, and where its messages go when they cannot be read.
pub(super) struct Consumption {
    pub(super) links: Links,
    pub(super) publisher: Arc<Publisher>,
    pub(super) names: Names,
    pub(super) source: Source,
    /// Unsettled deliveries at a time, of all queues together.
    pub(super) unsettled_max: u16,
}

impl Consumption {
    /// Messages until the queue closes.
    pub(super) fn stream<M>(self) -> BoxStream<'static, Delivery<M>>
    where
        M: Message + Name + Default + 'static,
    {
        self.stream_with(|_, _| None)
    }

    /// The same. What cannot be read is given to `salvage` with the reason: what that makes of it is yielded, and the message itself
    /// buried when it is settled.
    pub(super) fn stream_with<M>(self, salvage: Salvage<M>) -> BoxStream<'static, Delivery<M>>
    where
        M: Message + Name + Default + 'static,
    {
        let places = Places::new(self.unsettled_max);
        let state = State { consumption: self, active: None, backoff: Backoff::new(), places, salvage };
        stream::unfold(state, |mut state| async move { state.next().await.map(|delivery| (delivery, state)) }).boxed()
    }
}

/// What can be made of a message that cannot be read, for this reason.
pub(super) type Salvage<M> = fn(&[u8], &str) -> Option<M>;

struct State<M> {
    consumption: Consumption,
    active: Option<Active>,
    backoff: Backoff,
    places: Arc<Places>,
    salvage: Salvage<M>,
}

/// `None`: the broker has ended one of the consumers.
type Incoming = SelectAll<BoxStream<'static, Option<(String, lapin::message::Delivery)>>>;

struct Active {
    incoming: Incoming,
    tags: Vec<ShortString>,
    queues: Vec<String>,
    /// Closes when dropped, which gives back what is unsettled.
    channel: Channel,
}

impl<M: Message + Name + Default> State<M> {
    async fn next(&mut self) -> Option<Delivery<M>> {
        loop {
            let Some(active) = &mut self.active else {
                self.places.free().await;
                self.active = self.begin().await?;
                continue;
            };
            let next = tokio::select! {
                biased;
                order = self.places.order(active.queues.len()) => match active.obey(order, &self.places).await {
                    Ok(()) => continue,
                    Err(error) => {
                        debug!(%error, "the consumers could not be changed");
                        None
                    }
                },
                next = active.next(&self.places) => next,
            };
            let Some((queue, message)) = next else {
                self.active = None;
                self.places.lost();
                self.backoff.pause().await;
                continue;
            };
            let taken = Arc::new(self.places.take());
            let place = Arc::downgrade(&taken);
            let mut settle = Settle {
                acker: Some(message.acker),
                raw: Vec::new(),
                properties: message.properties,
                queue,
                names: self.consumption.names.clone(),
                publisher: self.consumption.publisher.clone(),
                _place: taken,
            };
            let message_id = settle.properties.message_id().as_ref().map(ToString::to_string);
            let read = read::<M>(&message.data);
            let salvaged = read.as_ref().err().and_then(|reason| (self.salvage)(&message.data, reason));
            settle.raw = message.data;
            match (read, salvaged) {
                (Ok(body), _) => {
                    self.backoff = Backoff::new();
                    return Some(Delivery { body, message_id, acknowledge: Box::new(settle), place });
                }
                (Err(reason), Some(body)) => {
                    self.backoff = Backoff::new();
                    let acknowledge = Box::new(BuryWhenSettled { settle: Box::new(settle), reason });
                    return Some(Delivery { body, message_id, acknowledge, place });
                }
                (Err(reason), None) => {
                    // The reason may quote the message, which is for the dead letter and not for the log.
                    warn!(queue = settle.queue, "burying a message that cannot be read");
                    match Box::new(settle).bury(&reason).await {
                        Ok(()) => self.backoff = Backoff::new(),
                        // It goes back, and is buried when the broker is well again.
                        Err(error) => {
                            warn!(%error, "could not bury it yet");
                            self.backoff.pause().await;
                        }
                    }
                }
            }
        }
    }

    /// `None`: the queue closes. `Some(None)`: not now.
    async fn begin(&mut self) -> Option<Option<Active>> {
        let link = self.consumption.links.next().await?;
        if let Err(error) = declare(&link, &self.consumption.source).await {
            self.places.lost();
            warn!(%error, "cannot consume from the broker");
            self.backoff.pause().await;
            return Some(None);
        }
        match Active::begin(&link, &self.consumption, &self.places).await {
            Ok(active) => Some(Some(active)),
            Err(error) => {
                self.places.lost();
                if link.is_open() {
                    warn!(%error, "cannot consume from the broker");
                    // Somebody has deleted a queue: the next connection declares it.
                    link.suspect();
                }
                self.backoff.pause().await;
                Some(None)
            }
        }
    }
}

impl Active {
    async fn begin(link: &Link, consumption: &Consumption, places: &Places) -> lapin::Result<Self> {
        let queues = consumption.source.queues(&consumption.names);
        let channel = link.connection.create_channel().await?;
        let mut active = Self { incoming: SelectAll::new(), tags: Vec::new(), queues, channel };
        let prefetch = places.begin();
        if prefetch > 0 {
            active.consume(prefetch).await?;
        }
        Ok(active)
    }

    /// One more consumer of each queue, which all together may have so many deliveries unsettled.
    async fn consume(&mut self, prefetch: usize) -> lapin::Result<()> {
        // Each queue gets its share, not the whole: what one queue had prefetched beyond the room would lie here unseen while
        // another replica has nothing to do. (A limit for the channel as a whole is not there for quorum queues.) With more task
        // queues than room, each still has to be allowed one message: then the places decide.
        let share = (prefetch / self.queues.len().max(1)).max(1);
        // It is for the consumers that come after it.
        self.channel.basic_qos(u16::try_from(share).unwrap_or(u16::MAX), BasicQosOptions::default()).await?;
        for queue in &self.queues {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = self.channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await?;
            self.tags.push(consumer.tag());
            let queue = queue.clone();
            let messages = consumer.map(move |message| message.ok().map(|message| (queue.clone(), message)));
            self.incoming.push(messages.chain(stream::once(async { None })).boxed());
        }
        Ok(())
    }

    /// The next message once there is a place for it. `None`: the broker has ended one of the consumers.
    async fn next(&mut self, places: &Places) -> Option<(String, lapin::message::Delivery)> {
        places.free().await;
        if self.incoming.is_empty() {
            // There will be a consumer before anything can come.
            std::future::pending::<()>().await;
        }
        self.incoming.next().await?
    }

    async fn obey(&mut self, order: Order, places: &Places) -> lapin::Result<()> {
        match order {
            Order::End => {
                for tag in self.tags.drain(..) {
                    self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
                }
                while let Some(next) = self.incoming.next().await {
                    if let Some((_, message)) = next {
                        message.acker.nack(requeue()).await?;
                    }
                }
                places.end();
                Ok(())
            }
            Order::Begin(prefetch) => {
                places.begin_another(prefetch);
                self.consume(prefetch).await
            }
        }
    }
}

async fn declare(link: &Link, source: &Source) -> Result<(), QueueUnavailable> {
    if let Source::TaskQueues(task_queues) = source {
        for task_queue in task_queues {
            link.forget_task_queue(task_queue);
            link.declare_task_queue(task_queue).await?;
        }
    }
    Ok(())
}

fn read<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body has {} bytes, at most {BODY_BYTES_MAX} are allowed", body.len()));
    }
    proto::from_json(body).map_err(|error| format!("not the JSON of {}: {error}", M::NAME))
}

/// Settles one delivery.
struct Settle {
    acker: Option<Acker>,
    /// As it came, for burying.
    raw: Vec<u8>,
    properties: BasicProperties,
    queue: String,
    names: Names,
    publisher: Arc<Publisher>,
    _place: Arc<Place>,
}

impl Settle {
    async fn acknowledge_now(&mut self) -> Result<(), QueueUnavailable> {
        match self.acker.take() {
            Some(acker) => settled(acker.ack(BasicAckOptions::default()).await),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Acknowledge for Settle {
    async fn acknowledge(mut self: Box<Self>) -> Result<(), QueueUnavailable> {
        self.acknowledge_now().await
    }

    async fn release(mut self: Box<Self>) -> Result<(), QueueUnavailable> {
        match self.acker.take() {
            Some(acker) => settled(acker.nack(requeue()).await),
            None => Ok(()),
        }
    }

    async fn bury(mut self: Box<Self>, reason: &str) -> Result<(), QueueUnavailable> {
        // Published and confirmed before it is acknowledged: dying in between leaves two copies, never none.
        let message = Outgoing {
            exchange: String::new(),
            routing_key: self.names.dead_queue(),
            properties: properties_of_dead(&self.properties, reason, &self.queue),
            mandatory: true,
            body: std::mem::take(&mut self.raw),
        };
        let link = self.publisher.link()?;
        match self.publisher.publish(&link, &[&message]).await?.pop() {
            Some(Outcome::Confirmed) => {
                COUNTED.buried(self.names.kind_of(&self.queue));
                self.acknowledge_now().await
            }
            Some(Outcome::Unconfirmed(reason)) => Err(QueueUnavailable(reason)),
            Some(Outcome::Returned) | None => {
                // Declared with each connection: somebody has deleted it, and the next connection brings it back.
                link.suspect();
                Err(QueueUnavailable(format!("there is no queue {}", self.names.dead_queue())))
            }
        }
    }
}

/// Settles the delivery of a message that could not be read, but for which somebody has to do something first.
struct BuryWhenSettled {
    settle: Box<Settle>,
    reason: String,
}

#[async_trait]
impl Acknowledge for BuryWhenSettled {
    async fn acknowledge(self: Box<Self>) -> Result<(), QueueUnavailable> {
        self.settle.bury(&self.reason).await
    }

    async fn release(self: Box<Self>) -> Result<(), QueueUnavailable> {
        self.settle.release().await
    }

    async fn bury(self: Box<Self>, reason: &str) -> Result<(), QueueUnavailable> {
        self.settle.bury(reason).await
    }
}

impl Drop for Settle {
    /// Not settled: back to the queue at once, without waiting for the channel to end.
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take()
            && acker.usable()
        {
            // The first poll hands the frame to the connection, which is all that there is to do.
            let _ = acker.nack(requeue()).now_or_never();
        }
    }
}

fn requeue() -> BasicNackOptions {
    BasicNackOptions { requeue: true, ..BasicNackOptions::default() }
}

fn settled(sent: lapin::Result<bool>) -> Result<(), QueueUnavailable> {
    match sent {
        Ok(true) => Ok(()),
        Ok(false) => Err(QueueUnavailable("the channel of this delivery is gone: it comes again".to_owned())),
        Err(error) => Err(unavailable(&error)),
    }
}

/// What came with the message, and how it died.
fn properties_of_dead(properties: &BasicProperties, reason: &str, queue: &str) -> BasicProperties {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let properties = carried_over(properties, &[]);
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert("x-quorate-reason".into(), AMQPValue::LongString(reason.into()));
    headers.insert("x-quorate-queue".into(), AMQPValue::LongString(queue.into()));
    headers.insert("x-quorate-died-at".into(), AMQPValue::Timestamp(now));
    properties.with_headers(headers)
}
