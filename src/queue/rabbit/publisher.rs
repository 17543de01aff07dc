//! Publishing with streamed confirms: a batch is written whole, then its confirms are awaited together.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{future::join_all, poll};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time,
};

use super::connection::{Link, Links};
use crate::queue::{QueueUnavailable, topology};

/// Batches that may be under way at once. Each has a channel for itself, because a broker returns a message without
/// saying which confirm it belongs to. Four keep the connection busy while confirms are awaited.
const PUBLISH_CHANNELS: usize = 4;

/// Messages written before their confirms are awaited: with bodies of at most 256 KiB it bounds what lies in memory twice.
const UNCONFIRMED_MAX: usize = 512;

/// How long opening a channel, and how long the confirms of one such batch may take. A broker that flushes to a slow disk takes tens of milliseconds; one
/// that takes this long is not there any more, or is out of memory or disk.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// A message on its way out. All are persistent.
pub(super) struct Outgoing {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    /// Their message id tells returned messages apart; those of one batch that are alike are returned alike.
    pub(super) properties: BasicProperties,
    /// Whether it has to reach a queue: else it is confirmed though nobody wants it.
    pub(super) mandatory: bool,
    pub(super) body: Vec<u8>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Confirmed,
    /// No queue is bound for it.
    Returned,
    Unconfirmed(String),
}

/// Publishes over a connection that comes and goes.
pub(super) struct Publisher {
    links: Links,
    channels: [Mutex<Option<Open>>; PUBLISH_CHANNELS],
    turn: AtomicUsize,
}

struct Open {
    link: Arc<Link>,
    channel: Channel,
}

impl Publisher {
    pub(super) fn new(links: Links) -> Self {
        Self { links, channels: Default::default(), turn: AtomicUsize::new(0) }
    }

    /// The connection, if it takes messages now.
    pub(super) fn link(&self) -> Result<Arc<Link>, QueueUnavailable> {
        let link = self.links.current().ok_or_else(|| QueueUnavailable("not connected to the broker".to_owned()))?;
        if link.is_open() {
            Ok(link)
        } else {
            Err(QueueUnavailable("the broker takes no messages at the moment".to_owned()))
        }
    }

    /// Publishes messages in their order. The outcomes are in the order of the messages.
    pub(super) async fn publish(
        &self,
        link: &Arc<Link>,
        messages: &[&Outgoing],
    ) -> Result<Vec<Outcome>, QueueUnavailable> {
        let mut slot = self.free_slot().await;
        // Taken out while in use: if this future is dropped midway, the channel with its open confirms goes with it.
        let open = match slot.take() {
            Some(open) if Arc::ptr_eq(&open.link, link) && open.channel.status().connected() => open,
            _ => Open { link: link.clone(), channel: open_channel(link).await? },
        };
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in messages.chunks(UNCONFIRMED_MAX) {
            outcomes.extend(publish_batch(&open, batch).await);
        }
        if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unconfirmed(_))) {
            *slot = Some(open);
        }
        Ok(outcomes)
    }

    async fn free_slot(&self) -> MutexGuard<'_, Option<Open>> {
        for slot in &self.channels {
            if let Ok(slot) = slot.try_lock() {
                return slot;
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.channels[turn % PUBLISH_CHANNELS].lock().await
    }
}

async fn open_channel(link: &Link) -> Result<Channel, QueueUnavailable> {
    let opening = async {
        let channel = link.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    };
    let Ok(opened) = time::timeout(CONFIRM_TIMEOUT, opening).await else {
        link.suspect();
        return Err(QueueUnavailable("the broker does not open a channel".to_owned()));
    };
    opened.map_err(|error| unavailable(&error))
}

async fn publish_batch(open: &Open, batch: &[&Outgoing]) -> Vec<Outcome> {
    let mut publishing = Vec::with_capacity(batch.len());
    for message in batch {
        let mut one = Box::pin(time::timeout(CONFIRM_TIMEOUT, publish_one(&open.channel, message)));
        // The first poll hands the frames to the connection: that, not the order of awaiting, is the order on the wire.
        let polled = poll!(one.as_mut());
        publishing.push(async move {
            match polled {
                std::task::Poll::Ready(done) => done,
                std::task::Poll::Pending => one.await,
            }
        });
    }
    let confirmations = join_all(publishing).await;

    // Which confirm a returned message comes with is a matter of chance (RabbitMQ confirms many at once), so that all
    // confirms are looked at before any is believed.
    let mut returned = HashSet::new();
    let mut outcomes = Vec::with_capacity(batch.len());
    for confirmation in confirmations {
        let outcome = match &confirmation {
            Ok(Ok(Confirmation::Nack(_))) => Outcome::Unconfirmed("the broker refused to take it now".to_owned()),
            Ok(Ok(Confirmation::Ack(_) | Confirmation::NotRequested)) => Outcome::Confirmed,
            Ok(Err(error)) => {
                // Somebody has deleted an exchange: the next connection declares it.
                if topology::is_not_found(error) {
                    open.link.suspect();
                }
                Outcome::Unconfirmed(error.to_string())
            }
            Err(_) => {
                // Out of memory or disk, it says so, and a new connection would change nothing.
                if open.link.is_open() {
                    open.link.suspect();
                }
                Outcome::Unconfirmed("the broker did not confirm in time".to_owned())
            }
        };
        if let Ok(Ok(confirmation)) = confirmation
            && let Some(message) = confirmation.take_message()
        {
            returned.insert(message.properties.message_id().clone());
        }
        outcomes.push(outcome);
    }
    if !returned.is_empty() {
        for (message, outcome) in batch.iter().zip(&mut outcomes) {
            if returned.contains(message.properties.message_id()) {
                *outcome = Outcome::Returned;
            }
        }
    }
    outcomes
}

fn publish_one(channel: &Channel, message: &Outgoing) -> impl Future<Output = lapin::Result<Confirmation>> {
    let properties = message.properties.clone();
    let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
    async move {
        channel
            .basic_publish(
                message.exchange.as_str().into(),
                message.routing_key.as_str().into(),
                options,
                &message.body,
                properties,
            )
            .await?
            .await
    }
}

pub(super) fn unavailable(error: &lapin::Error) -> QueueUnavailable {
    QueueUnavailable(error.to_string())
}
