//! Publishes reports: those that wait go out together, and their confirms are awaited together.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time,
};

use super::connection::Link;
use crate::transport::ReportError;

/// Reports published before their confirms are awaited.
const BATCH_MAX: usize = 256;

/// How long the confirms of a batch may take.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// A report on its way out.
pub(super) struct Outgoing {
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<(), ReportError>>,
}

/// Publishes until nobody can send any more. One batch at a time: a broker returns an unroutable message without saying
/// which confirm it belongs to, so that a batch is believed only as a whole.
pub(super) async fn publish(
    queue: String,
    mut outgoing: mpsc::Receiver<Outgoing>,
    links: watch::Receiver<Option<Arc<Link>>>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while outgoing.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let link = links.borrow().clone();
        let outcomes = match &link {
            Some(link) => publish_batch(link, &queue, &batch).await,
            None => batch.iter().map(|_| Err("not connected to the broker".to_owned())).collect(),
        };
        for (message, outcome) in batch.drain(..).zip(outcomes) {
            // Whoever does not wait any more does not need to know.
            let _ = message.answer.send(outcome.map_err(ReportError::Unavailable));
        }
    }
}

async fn publish_batch(link: &Link, queue: &str, batch: &[Outgoing]) -> Vec<Result<(), String>> {
    let confirmations =
        join_all(batch.iter().map(|message| time::timeout(CONFIRM_TIMEOUT, publish_one(link, queue, message)))).await;
    let (mut returned, mut suspicious) = (false, false);
    let mut outcomes: Vec<Result<(), String>> = Vec::with_capacity(batch.len());
    for confirmation in confirmations {
        outcomes.push(match confirmation {
            Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(_)))) => {
                returned = true;
                Ok(())
            }
            Ok(Ok(Confirmation::Nack(_))) => Err("the broker refused to take it now".to_owned()),
            Ok(Err(error)) => {
                suspicious = true;
                Err(error.to_string())
            }
            Err(_) => {
                // Out of memory or disk, it says so, and a new connection would change nothing.
                suspicious |= !link.connection.status().blocked();
                Err("the broker did not confirm in time".to_owned())
            }
        });
    }
    if returned {
        // All go to one queue. It is declared with each connection: somebody has deleted it, the next brings it back.
        outcomes = outcomes.iter().map(|_| Err("there is no queue for reports".to_owned())).collect();
    }
    if returned || suspicious {
        link.suspect();
    }
    outcomes
}

async fn publish_one(link: &Link, queue: &str, message: &Outgoing) -> lapin::Result<Confirmation> {
    /// AMQP's delivery mode of messages that survive a restart of the broker.
    const PERSISTENT: u8 = 2;
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(message.id.as_str().into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    // The default exchange routes by queue name.
    link.reports.basic_publish("".into(), queue.into(), options, &message.body, properties).await?.await
}
