//! A private corner of the test broker, and a wire to it that can be cut.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    collections::BTreeMap,
    env,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use quorate::{
    proto::{to_json, v1::JobReport},
    queue::{Names, Queue, QueueType, RabbitConfig, RabbitQueue},
};
use tokio::{
    io::{AsyncWriteExt, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
    time,
};

/// No condition of these tests takes this long on a loaded machine: a test that hangs fails instead. What a server that is killed has
/// claimed is another's after a minute only, and what follows from it takes its time too.
const PATIENCE: Duration = Duration::from_mins(3);

/// Fails instead of hanging.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// Looks again and again until the answer is there.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

pub(crate) fn amqp_url() -> String {
    env::var("QUORATE_TEST_AMQP_URL")
        .expect("QUORATE_TEST_AMQP_URL is not set: these tests need a RabbitMQ of their own, run scripts/test.sh")
}

/// Names of its own on the test broker, and a connection to look at them from outside.
pub(crate) struct Corner {
    pub(crate) prefix: String,
    pub(crate) names: Names,
    pub(crate) channel: Channel,
    connection: Connection,
}

impl Corner {
    pub(crate) async fn new() -> Self {
        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        // The broker's answer to a message tells whether it is in its queue.
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { names: Names::new(&prefix), prefix, channel, connection }
    }

    pub(crate) fn config(&self) -> RabbitConfig {
        RabbitConfig { prefix: self.prefix.clone(), ..RabbitConfig::new(&amqp_url()) }
    }

    /// A queue over this corner, connected.
    pub(crate) async fn queue(&self) -> RabbitQueue {
        self.queue_with(self.config()).await
    }

    pub(crate) async fn queue_with(&self, config: RabbitConfig) -> RabbitQueue {
        let queue = RabbitQueue::connect(&config).unwrap();
        connected(&queue).await;
        queue
    }

    pub(crate) async fn another_channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// Puts a message into a queue, which has to be there.
    pub(crate) async fn put(&self, queue: &str, body: &[u8]) {
        self.put_with(queue, body, BasicProperties::default()).await;
    }

    pub(crate) async fn put_with(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
        let answer = within("the broker's answer to a message", published).await.unwrap();
        assert_eq!(answer, Confirmation::Ack(None), "the message is not in {queue}");
    }

    pub(crate) async fn put_report(&self, report: &JobReport) {
        self.put(&self.names.results_queue(), &to_json(report).unwrap()).await;
    }

    pub(crate) async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        let message = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?;
        message.ack(BasicAckOptions::default()).await.unwrap();
        Some(message)
    }

    /// The next dead message: its headers and its body.
    pub(crate) async fn next_dead(&self) -> (BTreeMap<String, String>, Vec<u8>) {
        let message = until("a dead message", || async { self.get(&self.names.dead_queue()).await }).await;
        let headers = message.properties.headers().clone().unwrap_or_default();
        let texts = headers.inner().iter().filter_map(|(name, value)| match value {
            AMQPValue::LongString(text) => Some((name.to_string(), text.to_string())),
            AMQPValue::ShortString(text) => Some((name.to_string(), text.to_string())),
            _ => None,
        });
        (texts.collect(), message.delivery.data)
    }

    pub(crate) async fn exists(&self, queue: &str) -> bool {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = self.another_channel().await;
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.is_ok()
    }

    /// Messages that are ready in a queue.
    pub(crate) async fn count(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = self.another_channel().await;
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
    }

    /// How many consumers a queue has.
    pub(crate) async fn consumers(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = self.another_channel().await;
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().consumer_count()
    }

    /// Whether a queue that exists has exactly this type and these arguments: the broker refuses to declare it otherwise.
    pub(crate) async fn is_declared(&self, queue: &str, queue_type: QueueType, arguments: &[(&str, &str)]) -> bool {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let queue_type = match queue_type {
            QueueType::Auto => None,
            QueueType::Classic => Some("classic"),
            QueueType::Quorum => Some("quorum"),
        };
        if let Some(queue_type) = queue_type {
            table.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
        }
        assert!(self.exists(queue).await, "{queue} is not there: to declare it now would tell nothing");
        let channel = self.another_channel().await;
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), table).await.is_ok()
    }

    pub(crate) async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Leaves nothing behind.
    pub(crate) async fn clean_up(&self, task_queues: &[&str]) {
        for queue in [self.names.dead_queue(), self.names.results_queue(), self.names.records_queue()] {
            self.delete(&queue).await;
        }
        for task_queue in task_queues {
            self.delete(&self.names.jobs_queue(task_queue)).await;
        }
        for exchange in [self.names.jobs_exchange(), self.names.events_exchange()] {
            self.channel
                .exchange_delete(exchange.into(), lapin::options::ExchangeDeleteOptions::default())
                .await
                .unwrap();
        }
    }
}

pub(crate) async fn connected(queue: &RabbitQueue) {
    until("the connection", || async { queue.is_connected().then_some(()) }).await;
}

/// A wire to the broker, or to a server, that can be cut and mended.
pub(crate) struct Wire {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    cuts: watch::Sender<u32>,
}

impl Wire {
    pub(crate) async fn to_broker() -> Self {
        let broker: AMQPUri = amqp_url().parse().unwrap();
        let addresses = tokio::net::lookup_host((broker.authority.host, broker.authority.port)).await.unwrap();
        Self::to(addresses.into_iter().find(SocketAddr::is_ipv4).unwrap()).await
    }

    pub(crate) async fn to(far_end: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let (cuts, seen) = watch::channel(0);
        let is_open = open.clone();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if !is_open.load(Ordering::SeqCst) {
                    continue;
                }
                let mut seen = seen.clone();
                seen.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(far_end).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = seen.changed() => {
                            drop(near);
                            // It closes its end when it has taken in what came before.
                            let _ = far.shutdown().await;
                            let _ = copy(&mut far, &mut sink()).await;
                        }
                    }
                });
            }
        });
        Self { address, open, cuts }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        let mut uri: AMQPUri = amqp_url().parse().unwrap();
        uri.authority.host = self.address.ip().to_string();
        uri.authority.port = self.address.port();
        let (user, host) = (&uri.authority.userinfo, &uri.authority.host);
        let vhost = uri.vhost.replace('/', "%2f");
        format!("amqp://{}:{}@{host}:{}/{vhost}", user.username, user.password, uri.authority.port)
    }

    /// Drops all connections; new ones are accepted and dropped at once.
    pub(crate) fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// After a cut: waits until the far end has taken in all that came before it.
    pub(crate) async fn is_silent(&self) {
        // One is who accepts connections; each connection has another.
        until("the far end to see the cut", || async { (self.cuts.receiver_count() == 1).then_some(()) }).await;
    }

    pub(crate) fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}
