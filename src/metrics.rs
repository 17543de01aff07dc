//! Metrics for Prometheus, on an address of their own: what this process has counted since it started, and what waits in the task
//! queues and what has found no way out. `docs/operations.md` lists them.

use std::{
    sync::{Arc, LazyLock, atomic::AtomicU64},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use quorate_engine::id::Tenant;
use quorate_store::StoreError;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::Published,
    scheduler::{Scheduler, task_queues::TaskQueue},
};

/// For how long what was read of the store is shown again: however many scrape, it is read this often at most.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// What this process has counted.
pub(crate) static COUNTED: LazyLock<Counted> = LazyLock::new(Counted::default);

#[derive(Default)]
pub(crate) struct Counted {
    reports: Family<ReportLabels, Counter>,
    buried: Family<QueueLabels, Counter>,
    published: Family<PublishedLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    events_published: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishedLabels {
    delivery: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    what: &'static str,
}

impl Counted {
    /// A worker's report was applied.
    pub(crate) fn report_applied(&self) {
        self.reports.get_or_create(&ReportLabels { outcome: "applied", reason: "" }).inc();
    }

    /// A worker's report was refused: it came late, or from elsewhere.
    pub(crate) fn report_refused(&self, reason: &'static str) {
        self.reports.get_or_create(&ReportLabels { outcome: "refused", reason }).inc();
    }

    /// A worker's report could not be read.
    pub(crate) fn report_malformed(&self) {
        self.reports.get_or_create(&ReportLabels { outcome: "malformed", reason: "" }).inc();
    }

    /// A message was put among the dead letters. The queue is one of the kinds in `docs/workers.md`, without its prefix.
    pub(crate) fn buried(&self, queue: &'static str) {
        self.buried.get_or_create(&QueueLabels { queue }).inc();
    }

    /// So many jobs were confirmed by the broker: for the first time, or because they had not been heard of again.
    pub(crate) fn jobs_published(&self, again: bool, count: u64) {
        let delivery = if again { "again" } else { "first" };
        self.published.get_or_create(&PublishedLabels { delivery }).inc_by(count);
    }

    /// What the queue has answered to jobs or events: those that it will never take are counted.
    pub(crate) fn refused(&self, what: &'static str, answers: &[Published]) {
        let refused = answers.iter().filter(|answer| matches!(answer, Published::Refused(_))).count();
        if refused > 0 {
            self.refused.get_or_create(&RefusedLabels { what }).inc_by(refused as u64);
        }
    }

    /// So many events were confirmed by the broker.
    pub(crate) fn events_published(&self, count: u64) {
        self.events_published.inc_by(count);
    }

    fn register(&self, registry: &mut Registry) {
        // A counter's name ends with `_total` by itself.
        registry.register("quorate_reports", "Reports of workers, by what became of them", self.reports.clone());
        registry.register("quorate_messages_buried", "Messages put into quorate.dead", self.buried.clone());
        registry.register("quorate_jobs_published", "Jobs that the queue confirmed", self.published.clone());
        for what in ["jobs", "events"] {
            // Shown from the start: an alert on its growth must see the first one grow from 0.
            drop(self.refused.get_or_create(&RefusedLabels { what }));
        }
        let help = "Jobs and events that the queue will never take as they are";
        registry.register("quorate_publish_refused", help, self.refused.clone());
        let help = "Events that the queue confirmed";
        registry.register("quorate_events_published", help, self.events_published.clone());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskQueueLabels {
    task_queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    task_queue: String,
    state: &'static str,
}

/// What waits in the task queues.
#[derive(Default)]
struct TaskQueues {
    jobs: Family<JobLabels, Gauge>,
    oldest: Family<TaskQueueLabels, Gauge<f64, AtomicU64>>,
    consumers: Family<TaskQueueLabels, Gauge>,
}

impl TaskQueues {
    fn register(&self, registry: &mut Registry) {
        registry.register("quorate_task_queue_jobs", "Open jobs by task queue and state", self.jobs.clone());
        let help = "For how long the oldest job that waits could have been carried out";
        registry.register("quorate_task_queue_oldest_waiting_seconds", help, self.oldest.clone());
        let help = "Consumers of the task queue; absent while that is not known";
        registry.register("quorate_task_queue_consumers", help, self.consumers.clone());
    }

    fn show(&self, now: jiff::Timestamp, queues: Vec<TaskQueue>) {
        self.jobs.clear();
        self.oldest.clear();
        self.consumers.clear();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for TaskQueue { load, consumers, .. } in queues {
            for (state, count) in [("waiting", load.waiting), ("running", load.running), ("later", load.later)] {
                self.jobs.get_or_create(&JobLabels { task_queue: load.name.clone(), state }).set(number(count));
            }
            let labels = TaskQueueLabels { task_queue: load.name };
            let age = load.oldest_since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
            self.oldest.get_or_create(&labels).set(age);
            if let Some(consumers) = consumers {
                self.consumers.get_or_create(&labels).set(consumers.into());
            }
        }
    }
}

/// What has found no way out.
#[derive(Default)]
struct Left {
    dead: Gauge<f64, AtomicU64>,
    outbox: Gauge,
    oldest: Gauge<f64, AtomicU64>,
}

impl Left {
    fn register(&self, registry: &mut Registry) {
        let help = "Messages in quorate.dead; NaN while that is not known";
        registry.register("quorate_dead_letters", help, self.dead.clone());
        let help = "Submissions with events that the broker has not confirmed";
        registry.register("quorate_event_outbox_submissions", help, self.outbox.clone());
        let help = "For how long the first of them has had events in the outbox";
        registry.register("quorate_event_outbox_oldest_seconds", help, self.oldest.clone());
    }

    async fn show(&self, now: jiff::Timestamp, scheduler: &Scheduler, tenant: &Tenant) -> Result<(), StoreError> {
        let dead = scheduler.queue().dead_letters().await;
        #[expect(clippy::cast_precision_loss, reason = "a count of messages is far below 2^52")]
        self.dead.set(dead.map_or(f64::NAN, |count| count as f64));
        let load = scheduler.store().outbox_load(tenant).await?;
        self.outbox.set(i64::try_from(load.submissions).unwrap_or(i64::MAX));
        self.oldest.set(load.oldest_since.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0)));
        Ok(())
    }
}

struct Exposed {
    scheduler: Scheduler,
    registry: Registry,
    task_queues: TaskQueues,
    left: Left,
    /// When the gauges were last read.
    read_at: Mutex<Option<Instant>>,
}

impl Exposed {
    async fn text(&self) -> Result<String, StoreError> {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_none_or(|at| at.elapsed() > FRESH_FOR) {
            let tenant = Tenant::from(crate::TENANT);
            let (now, queues) = self.scheduler.task_queues(&tenant).await?;
            self.task_queues.show(now, queues);
            self.left.show(now, &self.scheduler, &tenant).await?;
            *read_at = Some(Instant::now());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| StoreError::Internal(format!("metrics could not be written: {error}")))?;
        Ok(text)
    }
}

/// Shows the metrics at `/metrics` until it is stopped.
pub(crate) fn serve(listener: TcpListener, scheduler: Scheduler, stop: CancellationToken) -> JoinHandle<()> {
    let mut registry = Registry::default();
    COUNTED.register(&mut registry);
    let task_queues = TaskQueues::default();
    task_queues.register(&mut registry);
    let left = Left::default();
    left.register(&mut registry);
    let exposed = Exposed { scheduler, registry, task_queues, left, read_at: Mutex::default() };
    let router = Router::new().route("/metrics", get(show)).with_state(Arc::new(exposed));
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the metrics are not served any more");
        }
    })
}

async fn show(State(exposed): State<Arc<Exposed>>) -> Response {
    match exposed.text().await {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "the metrics could not be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the store is not available\n").into_response()
        }
    }
}
