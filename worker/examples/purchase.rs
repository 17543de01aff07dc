//! The flows of `examples/purchase-request`, served in Rust: as `examples/workers/python` does it in Python.
//!
//! The backend of this example is a folder, `ERP_FOLDER` (`erp` where it is not said): `budget` holds the amount that may be spent,
//! `blocked` the vendors that get no orders, one a line; while the file `closed` exists, orders wait; and in `orders/` each order is
//! named by the job that made it.
//!
//! ```text
//! QUORATE_AMQP_URL=amqp://localhost cargo run -p quorate-worker --example purchase
//! QUORATE_SERVER=http://127.0.0.1:7400 QUORATE_TOKEN=... cargo run -p quorate-worker --example purchase
//! ```

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use quorate_worker::{FlowError, JobContext, Next, Worker, WorkerBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often an order looks whether the backend is open again.
const OPEN_POLL: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Amount {
    amount: f64,
}

#[derive(Deserialize)]
struct Purchase {
    vendor: String,
    amount: f64,
}

#[derive(Serialize)]
struct Budget {
    ok: bool,
}

#[derive(Serialize)]
struct Order {
    order: String,
}

#[derive(Serialize)]
struct Nothing {}

fn check_budget(erp: &Path, input: &Amount) -> Result<Budget, FlowError> {
    let budget = fs::read_to_string(erp.join("budget")).ok().and_then(|text| text.trim().parse::<f64>().ok());
    let budget = budget.ok_or_else(|| FlowError::new("BUDGET_DOWN", "the budget cannot be read"))?;
    Ok(Budget { ok: input.amount <= budget })
}

async fn create_order(erp: &Path, job: &JobContext, input: &Purchase) -> Result<Order, FlowError> {
    let blocked = fs::read_to_string(erp.join("blocked")).unwrap_or_default();
    if blocked.lines().any(|vendor| vendor == input.vendor) {
        return Err(FlowError::permanent("VENDOR_BLOCKED", "this vendor gets no orders"));
    }
    while erp.join("closed").exists() {
        tokio::select! {
            () = sleep(OPEN_POLL) => {}
            () = job.cancelled() => return Err(FlowError::new("CANCELLED", "the attempt is over")),
        }
    }
    // Named by the job: an order that comes again is the same order, and not a second one.
    let write = || {
        fs::create_dir_all(erp.join("orders"))?;
        fs::write(erp.join("orders").join(job.job()), format!("{} {}\n", input.vendor, input.amount))
    };
    write().map_err(|error: io::Error| FlowError::new("ERP_DOWN", error.to_string()))?;
    Ok(Order { order: format!("PO-{}", job.job()) })
}

/// What every flow of this worker leaves in its log.
async fn logged(job: JobContext, input: Value, next: Next) -> Result<Value, FlowError> {
    let begun = Instant::now();
    let outcome = next.run(job.clone(), input).await;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &outcome {
        Ok(_) => info!(duration_ms = milliseconds, "completed"),
        Err(error) => info!(duration_ms = milliseconds, code = error.code, "failed"),
    }
    outcome
}

/// The flows, without where their jobs come from.
fn flows(erp: PathBuf) -> WorkerBuilder {
    let (budget, orders) = (erp.clone(), erp);
    let mut worker = Worker::builder()
        .layer(logged)
        .flow("check-budget", move |_: JobContext, input: Amount| {
            let erp = budget.clone();
            async move { check_budget(&erp, &input) }
        })
        .flow("create-order", move |job: JobContext, input: Purchase| {
            let erp = orders.clone();
            async move { create_order(&erp, &job, &input).await }
        });
    for name in ["notify-failure", "notify-rejection", "release-budget"] {
        worker = worker.flow(name, |_: JobContext, _: Value| async { Ok(Nothing {}) });
    }
    worker
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let variable = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let url = match env::var("QUORATE_SERVER") {
        Ok(server) => server,
        Err(_) => variable("QUORATE_AMQP_URL", "amqp://localhost"),
    };
    let worker = flows(variable("ERP_FOLDER", "erp").into())
        .url(url)
        .token(env::var("QUORATE_TOKEN").ok())
        .prefix(variable("QUORATE_AMQP_PREFIX", "quorate"))
        .task_queues(variable("QUORATE_TASK_QUEUE", "default,erp").split(','))
        .concurrency(variable("QUORATE_CONCURRENCY", "4").parse()?)
        .grace(Duration::from_secs(variable("QUORATE_GRACE", "30").parse()?))
        .build()?;
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        warn!("stopping");
        stop.cancel();
    });
    info!(source = worker.source(), "serving");
    worker.run(shutdown).await?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use quorate_worker::testing::{Outcome, TestJob};
    use serde_json::json;

    use super::*;

    /// A backend of the test's own, which goes with it.
    struct Erp(PathBuf);

    impl Erp {
        fn new(test: &str) -> Self {
            let folder = env::temp_dir().join(format!("quorate-purchase-{test}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn flows(&self) -> WorkerBuilder {
            flows(self.0.clone())
        }
    }

    impl Drop for Erp {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn a_budget_that_cannot_be_read_is_tried_again() {
        let erp = Erp::new("budget");
        let job = TestJob::new("check-budget").input(json!({ "amount": 50 }));
        let error = job.clone().run(&erp.flows()).await.error().unwrap().clone();
        assert_eq!((error.code.as_str(), error.retryable), ("BUDGET_DOWN", true));
        fs::write(erp.0.join("budget"), "49.5\n").unwrap();
        assert_eq!(job.run(&erp.flows()).await.outcome, Outcome::Completed(json!({ "ok": false })));
    }

    #[tokio::test]
    async fn an_order_that_comes_again_is_the_same_order() {
        let erp = Erp::new("orders");
        let job = TestJob::new("create-order").job("j1").input(json!({ "vendor": "ACME", "amount": 50 }));
        for attempt in [1, 2] {
            let tested = job.clone().attempt(attempt).run(&erp.flows()).await;
            assert_eq!(tested.outcome, Outcome::Completed(json!({ "order": "PO-j1" })));
        }
        assert_eq!(fs::read_dir(erp.0.join("orders")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_vendor_that_is_blocked_is_not_tried_again() {
        let erp = Erp::new("blocked");
        fs::write(erp.0.join("blocked"), "EVIL\n").unwrap();
        let job = TestJob::new("create-order").input(json!({ "vendor": "EVIL", "amount": 50 }));
        let error = job.run(&erp.flows()).await.error().unwrap().clone();
        assert_eq!((error.code.as_str(), error.retryable), ("VENDOR_BLOCKED", false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_waits_for_the_backend_with_signs_of_life() {
        let erp = Erp::new("closed");
        fs::write(erp.0.join("closed"), "").unwrap();
        let job = TestJob::new("create-order").input(json!({ "vendor": "ACME", "amount": 50 }));
        let (minute, ten) = (Duration::from_secs(60), Duration::from_secs(10));
        let tested = job.heartbeat(ten).timeout(minute).run(&erp.flows()).await;
        assert_eq!(tested.error().unwrap().code, "TIMEOUT");
        assert!(tested.started && tested.heartbeats >= 6, "{tested:?}");
    }
}
