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

use quorate_worker::{FlowError, JobContext};
use serde::{Deserialize, Serialize};
use tokio::{fs, time};

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

#[derive(Deserialize)]
pub(crate) struct Amount {
    amount: f64,
}

#[derive(Serialize)]
pub(crate) struct Checked {
    ok: bool,
}

pub(crate) async fn check_budget(erp: Erp, Amount { amount }: Amount) -> Result<Checked, FlowError> {
    let text = fs::read_to_string(erp.0.join("budget")).await.unwrap_or_default();
    let budget: f64 = text.trim().parse().map_err(|_| FlowError::new("BUDGET_DOWN", "the budget cannot be read"))?;
    Ok(Checked { ok: amount <= budget })
}

#[derive(Deserialize)]
pub(crate) struct Purchase {
    vendor: String,
    amount: f64,
}

#[derive(Serialize)]
pub(crate) struct Ordered {
    order: String,
}

pub(crate) async fn create_order(erp: Erp, job: JobContext, purchase: Purchase) -> Result<Ordered, FlowError> {
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
pub(crate) struct Anything {}

#[derive(Serialize)]
pub(crate) struct Nothing {}

/// There is nobody to tell in this example.
pub(crate) async fn done(_: JobContext, _: Anything) -> Result<Nothing, FlowError> {
    Ok(Nothing {})
}
