//! What the flows do.
//!
//! The backend of this example is a folder, `ERP_FOLDER`:
//!
//! - `budget`: the amount that may be spent; a budget that is missing cannot be checked
//! - `blocked`: vendors that get no orders, one a line
//! - `closed`: while this file exists, orders wait
//! - `orders/`: the orders, each named by the job that made it

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quorate_worker::{FlowError, JobContext, Next, Worker, WorkerBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    fs,
    time::{self, Instant},
};
use tracing::info;

/// How often an order looks whether the backend is open again.
const OPEN_POLL: Duration = Duration::from_millis(100);

/// The backend.
#[derive(Clone)]
pub(crate) struct Erp(Arc<Path>);

impl Erp {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder.into())
    }
}

/// All flows, without where their jobs come from.
pub(crate) fn flows(erp: Erp) -> WorkerBuilder {
    let (budget, orders) = (erp.clone(), erp);
    Worker::builder()
        .layer(logged)
        .flow("check-budget", move |_, amount| check_budget(budget.clone(), amount))
        .flow("create-order", move |job, purchase| create_order(orders.clone(), job, purchase))
        .flow("notify-failure", done)
        .flow("notify-rejection", done)
        .flow("release-budget", done)
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

#[derive(Deserialize)]
struct Amount {
    amount: f64,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
}

async fn check_budget(erp: Erp, Amount { amount }: Amount) -> Result<Checked, FlowError> {
    let text = fs::read_to_string(erp.0.join("budget")).await.unwrap_or_default();
    let budget: f64 = text.trim().parse().map_err(|_| FlowError::new("BUDGET_DOWN", "the budget cannot be read"))?;
    Ok(Checked { ok: amount <= budget })
}

#[derive(Deserialize)]
struct Purchase {
    vendor: String,
    amount: f64,
}

#[derive(Serialize)]
struct Ordered {
    order: String,
}

async fn create_order(erp: Erp, job: JobContext, purchase: Purchase) -> Result<Ordered, FlowError> {
    let Purchase { vendor, amount } = purchase;
    let blocked = fs::read_to_string(erp.0.join("blocked")).await.unwrap_or_default();
    if blocked.lines().any(|line| line == vendor) {
        return Err(FlowError::permanent("VENDOR_BLOCKED", "this vendor gets no orders"));
    }
    while fs::try_exists(erp.0.join("closed")).await.map_err(down)? {
        tokio::select! {
            () = time::sleep(OPEN_POLL) => {}
            () = job.cancelled() => return Err(FlowError::new("CANCELLED", "the attempt is over")),
        }
    }
    // Named by the job: an order that comes again is the same order, and not a second one.
    let orders = erp.0.join("orders");
    fs::create_dir_all(&orders).await.map_err(down)?;
    fs::write(orders.join(job.job()), format!("{vendor} {amount}\n")).await.map_err(down)?;
    Ok(Ordered { order: format!("PO-{}", job.job()) })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn down(error: io::Error) -> FlowError {
    FlowError::new("ERP_DOWN", error.to_string())
}

/// What takes anything.
#[derive(Deserialize)]
struct Anything {}

#[derive(Serialize)]
struct Nothing {}

/// There is nobody to tell in this example.
async fn done(_: JobContext, _: Anything) -> Result<Nothing, FlowError> {
    Ok(Nothing {})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::fs;

    use quorate_worker::testing::{Outcome, TestJob};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    /// A backend of the test's own, which goes with it.
    struct Backend(TempDir);

    impl Backend {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn flows(&self) -> WorkerBuilder {
            flows(Erp::new(self.0.path().to_owned()))
        }
    }

    #[tokio::test]
    async fn a_budget_that_cannot_be_read_is_tried_again() {
        let erp = Backend::new();
        let job = TestJob::new("check-budget").input(json!({ "amount": 50 }));
        let error = job.clone().run(&erp.flows()).await.error().unwrap().clone();
        assert_eq!((error.code.as_str(), error.retryable), ("BUDGET_DOWN", true));
        fs::write(erp.path("budget"), "49.5\n").unwrap();
        assert_eq!(job.run(&erp.flows()).await.outcome, Outcome::Completed(json!({ "ok": false })));
    }

    #[tokio::test]
    async fn an_order_that_comes_again_is_the_same_order() {
        let erp = Backend::new();
        let job = TestJob::new("create-order").job("j1").input(json!({ "vendor": "ACME", "amount": 50 }));
        for attempt in [1, 2] {
            let tested = job.clone().attempt(attempt).run(&erp.flows()).await;
            assert_eq!(tested.outcome, Outcome::Completed(json!({ "order": "PO-j1" })));
        }
        assert_eq!(fs::read_dir(erp.path("orders")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_vendor_that_is_blocked_is_not_tried_again() {
        let erp = Backend::new();
        fs::write(erp.path("blocked"), "EVIL\n").unwrap();
        let job = TestJob::new("create-order").input(json!({ "vendor": "EVIL", "amount": 50 }));
        let error = job.run(&erp.flows()).await.error().unwrap().clone();
        assert_eq!((error.code.as_str(), error.retryable), ("VENDOR_BLOCKED", false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_waits_for_the_backend_with_signs_of_life() {
        let erp = Backend::new();
        fs::write(erp.path("closed"), "").unwrap();
        let job = TestJob::new("create-order").input(json!({ "vendor": "ACME", "amount": 50 }));
        let (minute, ten) = (Duration::from_mins(1), Duration::from_secs(10));
        let tested = job.heartbeat(ten).timeout(minute).run(&erp.flows()).await;
        assert_eq!(tested.error().unwrap().code, "TIMEOUT");
        assert!(tested.started && tested.heartbeats >= 6, "{tested:?}");
    }
}
