//! The connection to the broker, opened again when it is lost.

use std::{fmt, sync::Arc, time::Duration};

use futures::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::ConfirmSelectOptions,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{
    sync::{Notify, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::topology::{self, Names};
use crate::{InvalidWorker, WorkerBuilder, backoff::Backoff};

/// For the handshake and the topology together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long closing may take before the socket is simply dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the state is looked at besides waiting for lapin's event.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// AMQP heartbeats, where the URL does not say: a broker that is cut off without a word is noticed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// What a broker is reached with, and what is taken from it.
#[derive(Clone)]
pub(crate) struct AmqpTarget {
    uri: AMQPUri,
    worker: String,
    pub(super) names: Names,
    task_queues: Vec<String>,
}

impl AmqpTarget {
    pub(crate) fn new(plan: &WorkerBuilder) -> Result<Self, InvalidWorker> {
        let mut uri: AMQPUri = plan.url.parse().map_err(InvalidWorker::Url)?;
        if cfg!(not(feature = "amqps")) && uri.scheme == AMQPScheme::AMQPS {
            return Err(InvalidWorker::Url("this program was built without the feature `amqps`".to_owned()));
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self {
            uri,
            worker: plan.name.clone(),
            names: Names::new(&plan.prefix),
            task_queues: plan.task_queues.iter().cloned().collect(),
        })
    }
}

impl fmt::Display for AmqpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.uri.scheme == AMQPScheme::AMQPS { "amqps" } else { "amqp" };
        let authority = &self.uri.authority;
        write!(f, "{scheme}://{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }
}

/// The connection while it lives.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Where reports are published, with confirms.
    pub(super) reports: Channel,
    suspect: Notify,
}

impl Link {
    async fn open(target: &AmqpTarget) -> lapin::Result<Self> {
        let name = format!("quorate-worker {}", target.worker);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connect_uri(target.uri.clone(), properties).await?;
        topology::declare(&connection, &target.names, &target.task_queues).await?;
        let reports = connection.create_channel().await?;
        reports.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, reports, suspect: Notify::new() })
    }

    /// Something is wrong that a new connection may put right.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    async fn lost(&self) -> String {
        let mut events = self.connection.events_listener();
        let mut watch = time::interval(WATCH_INTERVAL);
        let mut reason = None;
        loop {
            // Errors of single channels come as events too: only the status says what they mean for the connection.
            if !self.connection.status().connected() {
                return reason.unwrap_or_else(|| "closed".to_owned());
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(lapin::Event::Error(error)) => reason = Some(error.to_string()),
                    Some(_) => {}
                    None => return reason.unwrap_or_else(|| "closed".to_owned()),
                },
                _ = watch.tick() => {}
                () = self.suspect.notified() => return "the broker does not take reports".to_owned(),
            }
        }
    }

    async fn close(&self) {
        // A connection that does not close in good order is dropped by the broker when it misses our heartbeats.
        let _ = time::timeout(CLOSE_TIMEOUT, self.connection.close(200, "OK".into())).await;
    }
}

/// Keeps a connection open until `closing`.
pub(super) async fn supervise(
    target: Arc<AmqpTarget>,
    current: watch::Sender<Option<Arc<Link>>>,
    closing: CancellationToken,
) {
    let mut backoff = Backoff::new();
    let mut down = false;
    loop {
        let opened = tokio::select! {
            () = closing.cancelled() => return,
            opened = time::timeout(CONNECT_TIMEOUT, Link::open(&target)) => opened,
        };
        let failure = match opened {
            Ok(Ok(link)) => {
                info!(broker = %target, "connected to the broker");
                down = false;
                backoff = Backoff::new();
                let link = Arc::new(link);
                current.send_replace(Some(link.clone()));
                let reason = tokio::select! {
                    () = closing.cancelled() => None,
                    reason = link.lost() => Some(reason),
                };
                current.send_replace(None);
                link.close().await;
                let Some(reason) = reason else { return };
                warn!(broker = %target, reason, "lost the connection to the broker");
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it does not answer".to_owned()),
        };
        // Said once for each outage.
        if let Some(reason) = failure
            && !down
        {
            down = true;
            warn!(broker = %target, reason, "cannot connect to the broker: trying on");
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = backoff.pause() => {}
        }
    }
}
