//! One connection to the broker that comes back: opened, watched, and opened again when it is lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use rand::Rng;
use tokio::{
    sync::{Notify, OnceCell, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::publisher::unavailable;
use crate::queue::{
    QueueUnavailable,
    topology::{self, Names, QueueType},
};

/// The first pause after a connection was lost or refused: a broker that restarts is not there within less.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);

/// Each pause is twice the one before, up to this: a broker that is back is found within it, and hundreds of replicas that
/// knock every ten seconds do not hurt one.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);

/// For the handshake and the topology together. A broker that answers slower is of no use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the broker may take to declare a task queue. A quorum queue whose nodes are gone is never declared.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long closing may take before the socket is simply dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the state is looked at besides waiting for lapin's event, which a full event queue could withhold.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// AMQP heartbeats, where the URL does not say: a broker that is cut off without a word is noticed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// What a connection is opened with.
pub(super) struct Target {
    pub(super) uri: AMQPUri,
    /// Shown by the broker's tools.
    pub(super) name: String,
    pub(super) names: Names,
    pub(super) queue_type: QueueType,
}

/// One connection while it lives.
pub(super) struct Link {
    pub(super) connection: Connection,
    target: Arc<Target>,
    /// Task queues declared over this connection, or being declared. A broker that was rebuilt empty was also reconnected to.
    declared: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
    suspect: Notify,
}

impl Link {
    /// Declares a task queue unless this connection has done so already. One that hangs holds up only those who wait for it.
    pub(super) async fn declare_task_queue(&self, task_queue: &str) -> Result<(), QueueUnavailable> {
        let once = Arc::clone(self.declared().entry(task_queue.to_owned()).or_default());
        let Target { names, queue_type, .. } = &*self.target;
        let declare = || topology::declare_task_queue(&self.connection, names, *queue_type, task_queue);
        match time::timeout(DECLARE_TIMEOUT, once.get_or_try_init(declare)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(QueueUnavailable(format!("the broker does not declare the task queue {task_queue}"))),
        }
    }

    /// Whether this connection has declared a task queue.
    pub(super) fn has_declared(&self, task_queue: &str) -> bool {
        self.declared().get(task_queue).is_some_and(|once| once.initialized())
    }

    /// Somebody has deleted a queue: the next use declares it.
    pub(super) fn forget_task_queue(&self, task_queue: &str) {
        self.declared().remove(task_queue);
    }

    fn declared(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<()>>>> {
        // Nothing is left half done where it could panic.
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It does not answer any more, or a queue is missing: it is given up, and another one opened, which declares everything.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Whether the broker takes messages over this connection: it stops to when it runs out of memory or disk.
    pub(super) fn is_open(&self) -> bool {
        let status = self.connection.status();
        status.connected() && !status.blocked()
    }

    async fn open(target: Arc<Target>) -> lapin::Result<Self> {
        let mut uri = target.uri.clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let properties = ConnectionProperties::default().with_connection_name(target.name.as_str().into());
        let connection = Connection::connect_uri(uri, properties).await?;
        topology::declare(&connection, &target.names, target.queue_type).await?;
        Ok(Self { connection, target, declared: Mutex::default(), suspect: Notify::new() })
    }

    /// Ends when the connection is lost or suspected, with the reason.
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
                () = self.suspect.notified() => return "something is wrong with it".to_owned(),
            }
        }
    }

    async fn close(&self) {
        let closing = self.connection.close(200, "OK".into());
        if !matches!(time::timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(()))) {
            tracing::debug!("the connection to the broker did not close in good order");
        }
    }
}

/// Follows one connection through its lives.
#[derive(Clone)]
pub(super) struct Links {
    current: watch::Receiver<Option<Arc<Link>>>,
}

impl Links {
    /// Begins to connect, and keeps on until `closing`.
    pub(super) fn supervise(target: Target, closing: CancellationToken) -> Self {
        let (sender, current) = watch::channel(None);
        tokio::spawn(supervise(Arc::new(target), sender, closing));
        Self { current }
    }

    /// The connection, if there is one now.
    pub(super) fn current(&self) -> Option<Arc<Link>> {
        self.current.borrow().clone()
    }

    /// Waits for a connection. `None`: the queue closes, and there will be none.
    pub(super) async fn next(&mut self) -> Option<Arc<Link>> {
        self.current.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Ends when the supervisor has ended, and with it the connection.
    pub(super) async fn closed(&mut self) {
        while self.current.changed().await.is_ok() {}
    }
}

async fn supervise(target: Arc<Target>, current: watch::Sender<Option<Arc<Link>>>, closing: CancellationToken) {
    let broker = format!("{}:{}", target.uri.authority.host, target.uri.authority.port);
    let mut delays = Backoff::new();
    let mut down = false;
    loop {
        let opened = tokio::select! {
            () = closing.cancelled() => return,
            opened = time::timeout(CONNECT_TIMEOUT, Link::open(target.clone())) => opened,
        };
        match opened {
            Ok(Ok(link)) => {
                down = false;
                delays = Backoff::new();
                let link = Arc::new(link);
                current.send_replace(Some(link.clone()));
                info!(broker, connection = target.name, "connected to the broker");
                let reason = tokio::select! {
                    () = closing.cancelled() => {
                        current.send_replace(None);
                        link.close().await;
                        return;
                    }
                    reason = link.lost() => reason,
                };
                current.send_replace(None);
                warn!(broker, connection = target.name, reason, "lost the connection to the broker");
                // Also ends the channels of a connection that was only suspected: what they held comes again.
                link.close().await;
            }
            // Said once for each outage: a broker that is away for a night would fill the log.
            Ok(Err(error)) if !down => {
                down = true;
                warn!(broker, connection = target.name, %error, "cannot connect to the broker: trying on");
            }
            Err(_) if !down => {
                down = true;
                warn!(broker, connection = target.name, "the broker does not answer: trying on");
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = delays.pause() => {}
        }
    }
}

/// Growing pauses between tries, each shortened by chance so that replicas do not knock in step.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: RECONNECT_DELAY_MIN }
    }

    pub(super) async fn pause(&mut self) {
        let share = rand::rng().random_range(0.5..=1.0);
        time::sleep(self.next.mul_f64(share)).await;
        self.next = (self.next * 2).min(RECONNECT_DELAY_MAX);
    }
}
