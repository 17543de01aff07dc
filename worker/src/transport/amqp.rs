//! The way over AMQP: the queues of DESIGN 6.

use std::sync::Arc;

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, SelectAll},
};
use lapin::{
    Acker, Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
    },
    types::{FieldTable, ShortString},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use self::{connection::Link, publisher::Outgoing};
use crate::{
    BODY_BYTES_MAX, WorkerError,
    backoff::Backoff,
    json,
    limits::Share,
    places::{Order, Places},
    proto::{Job, JobReport},
    transport::{Hold, Incoming, ReportError, Transport},
};

mod connection;
mod publisher;
mod topology;

pub(crate) use connection::AmqpTarget;

/// Reports that wait to be published. More wait at their jobs, which are bounded by the worker's concurrency.
const OUTGOING_MAX: usize = 1024;

/// The way over AMQP.
pub(crate) struct Amqp {
    target: Arc<AmqpTarget>,
    links: watch::Receiver<Option<Arc<Link>>>,
    outgoing: mpsc::Sender<Outgoing>,
    closing: DropGuard,
}

impl Amqp {
    /// Begins to connect, in the tokio runtime that it is called in.
    pub(crate) fn open(target: AmqpTarget) -> Self {
        let target = Arc::new(target);
        let closing = CancellationToken::new();
        let (current, links) = watch::channel(None);
        tokio::spawn(connection::supervise(target.clone(), current, closing.clone()));
        let (outgoing, waiting) = mpsc::channel(OUTGOING_MAX);
        tokio::spawn(publisher::publish(target.names.results_queue(), waiting, links.clone()));
        Self { target, links, outgoing, closing: closing.drop_guard() }
    }

    async fn take(&self, share: &Share, places: &Arc<Places>, jobs: mpsc::Sender<Incoming>, stop: &CancellationToken) {
        let mut links = self.links.clone();
        let mut backoff = Backoff::new();
        loop {
            let link = tokio::select! {
                () = stop.cancelled() => return,
                link = links.wait_for(Option::is_some) => link.ok().and_then(|link| link.clone()),
            };
            // None: we were closed.
            let Some(link) = link else { return };
            match Consumers::start(&link, &self.target, share, places).await {
                Ok(mut consumers) => {
                    if consumers.run(&jobs, stop).await {
                        backoff = Backoff::new();
                    }
                    // Also when the broker has ended but one of them: what the others have here goes back.
                    consumers.end().await;
                    places.lost();
                }
                Err(error) => {
                    if link.connection.status().connected() {
                        warn!(%error, "cannot consume from the broker");
                        // A queue may have been deleted: a new connection declares it.
                        link.suspect();
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = backoff.pause() => {}
            }
        }
    }
}

/// `None`: the broker has ended one of the consumers.
type Deliveries = SelectAll<stream::BoxStream<'static, Option<Delivery>>>;

/// The consumers of one connection.
struct Consumers<'a> {
    channel: Channel,
    queues: Vec<String>,
    places: &'a Arc<Places>,
    tags: Vec<ShortString>,
    deliveries: Deliveries,
}

impl<'a> Consumers<'a> {
    async fn start(link: &Link, target: &AmqpTarget, share: &Share, places: &'a Arc<Places>) -> lapin::Result<Self> {
        let channel = link.connection.create_channel().await?;
        let queues = share.task_queues.iter().map(|task_queue| target.names.jobs_queue(task_queue)).collect();
        let mut consumers = Self { channel, queues, places, tags: Vec::new(), deliveries: SelectAll::new() };
        let prefetch = places.begin();
        if prefetch > 0
            && let Err(error) = consumers.begin(prefetch).await
        {
            places.lost();
            return Err(error);
        }
        Ok(consumers)
    }

    /// One more consumer of each task queue, which all together may have so many deliveries unsettled.
    async fn begin(&mut self, prefetch: usize) -> lapin::Result<()> {
        // Of each task queue: what one had prefetched beyond its part would lie here while other workers are idle.
        let part = (prefetch / self.queues.len().max(1)).max(1);
        // It is for the consumers that come after it.
        self.channel.basic_qos(u16::try_from(part).unwrap_or(u16::MAX), BasicQosOptions::default()).await?;
        for queue in &self.queues {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = self.channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await?;
            self.tags.push(consumer.tag());
            self.deliveries.push(consumer.map(Result::ok).chain(stream::once(async { None })).boxed());
        }
        Ok(())
    }

    /// Hands over jobs until `stop`, or until the broker ends a consumer. Whether any came.
    async fn run(&mut self, jobs: &mpsc::Sender<Incoming>, stop: &CancellationToken) -> bool {
        let mut any = false;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return any,
                order = self.places.order(self.queues.len()) => {
                    if let Err(error) = self.obey(order).await {
                        debug!(%error, "the consumers could not be changed");
                        return any;
                    }
                    continue;
                }
                next = next(self.places, jobs, &mut self.deliveries) => next,
            };
            let Some((turn, delivery)) = next else { return any };
            any = true;
            match read(&delivery.data) {
                Ok(job) => {
                    let held = Held { acker: Some(delivery.acker), _channel: self.channel.clone() };
                    turn.send(Incoming { job, hold: Hold::Delivery(held), place: self.places.take() });
                }
                Err(reason) => {
                    warn!(reason, "rejected a message that cannot be read");
                    // Not requeued: the broker moves it to the dead letters. If this fails it comes again with the next channel.
                    let _ = delivery.acker.reject(BasicRejectOptions { requeue: false }).await;
                }
            }
        }
    }

    async fn obey(&mut self, order: Order) -> lapin::Result<()> {
        match order {
            Order::End => {
                self.end().await;
                self.places.end();
                Ok(())
            }
            Order::Begin(prefetch) => {
                self.places.begin_another(prefetch);
                self.begin(prefetch).await
            }
        }
    }

    /// No new deliveries; what is here and was not handed over goes back. What was handed over stays ours: the channel lives
    /// as long as the last of them.
    async fn end(&mut self) {
        for tag in self.tags.drain(..) {
            // A channel that is gone has ended its consumers.
            let _ = self.channel.basic_cancel(tag, BasicCancelOptions::default()).await;
        }
        while let Some(next) = self.deliveries.next().await {
            if let Some(delivery) = next {
                let _ = delivery.acker.nack(requeue()).await;
            }
        }
    }
}

/// The next delivery once there is a place for it, and the turn to hand it over. `None`: the broker has ended one of the consumers, or
/// nobody takes jobs any more.
async fn next<'a>(
    places: &Places,
    jobs: &'a mpsc::Sender<Incoming>,
    deliveries: &mut Deliveries,
) -> Option<(mpsc::Permit<'a, Incoming>, Delivery)> {
    places.free().await;
    let turn = jobs.reserve().await.ok()?;
    if deliveries.is_empty() {
        // There will be a consumer before anything can come.
        std::future::pending::<()>().await;
    }
    Some((turn, deliveries.next().await??))
}

fn read(body: &[u8]) -> Result<Job, String> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body has {} bytes, at most {BODY_BYTES_MAX} are allowed", body.len()));
    }
    let job: Job = json::from_json(body)?;
    if job.job.is_empty() || job.token.is_empty() {
        return Err("a job has to have an id and a token".to_owned());
    }
    Ok(job)
}

/// A delivery that is not settled yet. Dropped, it goes back.
pub(crate) struct Held {
    acker: Option<Acker>,
    /// Closing it would give the delivery back.
    _channel: Channel,
}

impl Held {
    /// If it does not get through, the channel is gone, and the job comes again: the server refuses its second result.
    pub(super) async fn done(mut self) {
        if let Some(acker) = self.acker.take() {
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
    }

    pub(super) async fn release(mut self) {
        if let Some(acker) = self.acker.take() {
            let _ = acker.nack(requeue()).await;
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable)
    }
}

impl Drop for Held {
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

impl Transport for Amqp {
    fn take_jobs(
        self: Arc<Self>,
        share: Share,
        places: Arc<Places>,
        jobs: mpsc::Sender<Incoming>,
        stop: CancellationToken,
        _end: CancellationToken,
    ) -> BoxFuture<'static, Result<(), WorkerError>> {
        async move {
            self.take(&share, &places, jobs, &stop).await;
            Ok(())
        }
        .boxed()
    }

    fn report(&self, report: JobReport) -> BoxFuture<'_, Result<(), ReportError>> {
        async move {
            let body = json::to_json(&report).map_err(ReportError::Refused)?;
            let id = format!("{}/{}/{}", report.job, report.attempt, report.status);
            let (answer, answered) = oneshot::channel();
            let gone = || ReportError::Unavailable("the connection is closed".to_owned());
            self.outgoing.send(Outgoing { id, body, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.closing.token().cancel();
            let mut links = self.links.clone();
            while links.changed().await.is_ok() {}
        }
        .boxed()
    }
}
