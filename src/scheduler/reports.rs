//! Reports: what workers say, brought to the lanes. A delivery is acknowledged after the commit, never before (DESIGN 4,
//! invariant 2).

use std::time::Duration;

use futures::StreamExt;
use quorate_engine::{
    Json,
    command::{Command, Report, ReportOutcome},
    id::{JobId, Tenant, Token},
};
use tokio_util::sync::CancellationToken;

use crate::{
    proto::{
        v1::JobReport,
        value::{self, BadData},
    },
    queue::Delivery,
};

use super::{Answer, Ask, Rejection, Request, Scheduler};

/// How many reports are at the lanes at once: as many as the consumer prefetches, so that lanes see large batches.
const AT_ONCE_MAX: usize = 1_000;

/// How long a report waits before it goes back to the queue when the store is away.
const RELEASE_DELAY: Duration = Duration::from_millis(500);

/// Why a report cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not a report: no further delivery will make it one.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field that is wrong.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The lane's answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl Scheduler {
    /// Applies a worker's report. `Ok` after the commit.
    pub async fn report(&self, tenant: &Tenant, report: JobReport) -> Result<Answer, ReportError> {
        let report = read(report)?;
        let submission = report.token.submission().ok_or_else(|| malformed("token", "is not a token"))?;
        let ask = Ask::Command(Command::Report(report));
        let request = Request { tenant: tenant.clone(), submission, ask, key: None };
        Ok(self.ask_in_turn(request).await?)
    }
}

/// Takes reports from the queue until it is stopped, and lets those that are at the lanes finish.
pub(super) async fn run(scheduler: Scheduler, stop: CancellationToken) {
    let tenant = Tenant::from(crate::TENANT);
    let reports = scheduler.queue().reports().take_until(stop.cancelled());
    reports
        .for_each_concurrent(AT_ONCE_MAX, |delivery| {
            let (scheduler, tenant) = (&scheduler, &tenant);
            async move { apply(scheduler, tenant, delivery).await }
        })
        .await;
}

async fn apply(scheduler: &Scheduler, tenant: &Tenant, delivery: Delivery<JobReport>) {
    let Delivery { body, acknowledge, .. } = delivery;
    let job = body.job.clone();
    let settled = match scheduler.report(tenant, body).await {
        Ok(_) => acknowledge.acknowledge().await,
        Err(ReportError::Rejected(Rejection::Refused(refusal))) => {
            tracing::info!(job.id = job, reason = refusal.reason(), "a report was refused");
            acknowledge.acknowledge().await
        }
        Err(ReportError::Malformed { field, reason }) => {
            tracing::warn!(job.id = job, field, reason, "a report was buried");
            acknowledge.bury(&format!("{field}: {reason}")).await
        }
        Err(ReportError::Rejected(rejection)) => {
            tracing::debug!(job.id = job, %rejection, "a report goes back to the queue");
            tokio::time::sleep(RELEASE_DELAY).await;
            acknowledge.release().await
        }
    };
    if let Err(error) = settled {
        // It comes again, and is refused then: its attempt is no longer live.
        tracing::debug!(%error, job.id = job, "a report could not be settled");
    }
}

fn read(report: JobReport) -> Result<Report, ReportError> {
    let job: JobId = report.job.parse().map_err(|_| malformed("job", "is not a job's id"))?;
    let token = Token::parse(&report.token).ok_or_else(|| malformed("token", "is not a token"))?;
    let outcome = match report.status.as_str() {
        "STARTED" => ReportOutcome::Started { worker: clean(&report.worker) },
        "HEARTBEAT" => ReportOutcome::Heartbeat,
        "COMPLETED" => ReportOutcome::Completed {
            output: match &report.output {
                Some(output) => value::to_json(output, "output").map_err(|error| bad_data(&error))?,
                None => Json::Object(serde_json::Map::new()),
            },
        },
        "FAILED" => {
            let error = report.error.unwrap_or_default();
            let code = if error.code.is_empty() { "FAILED".to_owned() } else { error.code };
            let retryable = error.retryable.unwrap_or(true);
            ReportOutcome::Failed { code: clean(&code), message: clean(&error.message), retryable }
        }
        _ => return Err(malformed("status", "is none of STARTED, HEARTBEAT, COMPLETED, FAILED")),
    };
    Ok(Report { job, attempt: report.attempt, token, outcome })
}

/// A worker's text without the character that the store cannot keep.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

fn malformed(field: &str, reason: &str) -> ReportError {
    ReportError::Malformed { field: field.to_owned(), reason: reason.to_owned() }
}

fn bad_data(error: &BadData) -> ReportError {
    ReportError::Malformed { field: error.path().to_owned(), reason: error.to_string() }
}
