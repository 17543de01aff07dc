//! Reports: what workers say, brought to the lanes. A delivery is acknowledged after the commit, never before (DESIGN 4,
//! invariant 2).

use futures::StreamExt;
use quorate_engine::{
    Json,
    command::{Command, FlowEffect, Report, ReportOutcome},
    decide::COMMENT_BYTES_MAX,
    event::EmittedEvent,
    id::{JobId, Tenant, Token},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::COUNTED,
    proto::{
        v1::{self, JobReport, job_effect::Effect},
        value::{self, BadData},
    },
    queue::{self, BODY_BYTES_MAX, Delivery, OUTPUT_INVALID},
};

use super::{Answer, Ask, Rejection, Request, Scheduler, held::Pauses};

/// How many reports are at the lanes at once: as many as the consumer prefetches, so that lanes see large batches.
const AT_ONCE_MAX: usize = 1_000;

/// How many effects a report may have: a flow that has more to do to its submission is several steps, and each effect is an event of
/// a history that is bounded.
const EFFECTS_MAX: usize = 50;

/// How long an event's type may be: with what is put before it, it is a routing key, which a broker bounds at 255 bytes.
const EVENT_TYPE_BYTES_MAX: usize = 200;

/// How long the other attributes of an event may be: URIs and names of things.
const EVENT_ATTRIBUTE_BYTES_MAX: usize = 500;

/// How many bytes the data of an event may have as JSON: with its envelope it has to fit into a message of 256 KiB.
const EVENT_DATA_BYTES_MAX: usize = 200 * 1024;

/// How much is kept of an error's code, in bytes: it is a short stable name.
const ERROR_CODE_BYTES_MAX: usize = 200;

/// How much is kept of an error's message, in bytes: histories and events repeat it, and people read it.
const ERROR_MESSAGE_BYTES_MAX: usize = 8_000;

/// How much is kept of a worker's name, in bytes.
const WORKER_BYTES_MAX: usize = 200;

/// What the types of Quorate's own events begin with.
const OWN_TYPES: &str = "quorate.";

const EFFECTS_OF_COMPLETED: &str = "belong to COMPLETED";

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
    /// It is the result of a flow, and cannot be read: no further delivery will mend it, and so the attempt has failed by it, for good.
    #[error("{field}: {reason}")]
    ResultInvalid {
        /// The field that is wrong.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The lane's answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

/// A field of a report that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
struct FieldError {
    field: String,
    reason: String,
}

impl From<FieldError> for ReportError {
    fn from(FieldError { field, reason }: FieldError) -> Self {
        Self::Malformed { field, reason }
    }
}

impl From<BadData> for FieldError {
    fn from(error: BadData) -> Self {
        Self { field: error.path().to_owned(), reason: error.problem().clone() }
    }
}

impl Scheduler {
    /// Applies a worker's report. `Ok` after the commit.
    pub async fn report(&self, tenant: &Tenant, report: JobReport) -> Result<Answer, ReportError> {
        let applied = self.apply(tenant, report).await;
        match &applied {
            Ok(_) => COUNTED.report_applied(),
            Err(ReportError::Rejected(Rejection::Refused(refusal))) => COUNTED.report_refused(refusal.reason()),
            Err(ReportError::Malformed { .. } | ReportError::ResultInvalid { .. }) => COUNTED.report_malformed(),
            // It comes again.
            Err(ReportError::Rejected(_)) => {}
        }
        applied
    }

    async fn apply(&self, tenant: &Tenant, report: JobReport) -> Result<Answer, ReportError> {
        let job = report.job.clone();
        let (report, invalid) = read(report)?;
        let submission = report.token.submission().ok_or_else(|| wrong("token", "is not a token"))?;
        let ask = Ask::Command(Command::Report(report));
        let request = Request { tenant: tenant.clone(), submission, ask, key: None };
        let answer = self.ask_in_turn(request).await;
        if let Err(Rejection::Refused(refusal)) = &answer {
            tracing::info!(job.id = job, reason = refusal.reason(), "a report was refused");
        }
        let answer = answer?;
        match invalid {
            None => Ok(answer),
            Some(FieldError { field, reason }) => Err(ReportError::ResultInvalid { field, reason }),
        }
    }
}

/// Takes reports from the queue until it is stopped, and lets those that are at the lanes finish.
pub(super) async fn run(scheduler: Scheduler, stop: CancellationToken) {
    let tenant = Tenant::from(crate::TENANT);
    let reports = scheduler.queue().reports().take_until(stop.cancelled());
    reports
        .for_each_concurrent(AT_ONCE_MAX, |delivery| {
            let (scheduler, tenant, stop) = (&scheduler, &tenant, &stop);
            async move { apply(scheduler, tenant, delivery, stop).await }
        })
        .await;
}

async fn apply(scheduler: &Scheduler, tenant: &Tenant, delivery: Delivery<JobReport>, stop: &CancellationToken) {
    let Delivery { body, acknowledge, .. } = delivery;
    let job = body.job.clone();
    let mut pauses = Pauses::new();
    let settled = loop {
        match scheduler.report(tenant, body.clone()).await {
            // What is refused will never be right.
            Ok(_) | Err(ReportError::Rejected(Rejection::Refused(_))) => break acknowledge.acknowledge().await,
            Err(ReportError::Malformed { field, reason } | ReportError::ResultInvalid { field, reason }) => {
                tracing::warn!(job.id = job, field, reason, "a report was buried");
                break acknowledge.bury(&format!("{field}: {reason}")).await;
            }
            Err(ReportError::Rejected(rejection)) => {
                tracing::debug!(job.id = job, %rejection, "a report is held until it can be applied");
                if !pauses.pause(stop).await {
                    break acknowledge.release().await;
                }
            }
        }
    };
    if let Err(error) = settled {
        // It comes again, and is refused then: its attempt is no longer live.
        tracing::debug!(%error, job.id = job, "a report could not be settled");
    }
}

/// What a worker says. Where it is the result of a flow and cannot be read, it says that the attempt has failed: the worker is done with
/// it, and would come to the same result again. Then also what is wrong.
fn read(report: JobReport) -> Result<(Report, Option<FieldError>), FieldError> {
    let job: JobId = report.job.parse().map_err(|_| wrong("job", "is not a job's id"))?;
    let token = Token::parse(&report.token).ok_or_else(|| wrong("token", "is not a token"))?;
    let attempt = report.attempt;
    let (outcome, invalid) = match report.status.as_str() {
        "COMPLETED" | "FAILED" => match read_result(report) {
            Ok(outcome) => (outcome, None),
            Err(error) => (result_invalid(&error), Some(error)),
        },
        // Lest somebody takes for applied what never is.
        "STARTED" | "HEARTBEAT" if !report.effects.is_empty() => return Err(wrong("effects", EFFECTS_OF_COMPLETED)),
        "STARTED" | "HEARTBEAT" if queue::excess(&report).is_some() => return Err(too_large(&report)),
        "STARTED" => (ReportOutcome::Started { worker: clean(&report.worker, WORKER_BYTES_MAX) }, None),
        "HEARTBEAT" => (ReportOutcome::Heartbeat, None),
        _ => return Err(wrong("status", "is none of STARTED, HEARTBEAT, COMPLETED, FAILED")),
    };
    Ok((Report { job, attempt, token, outcome }, invalid))
}

fn read_result(report: JobReport) -> Result<ReportOutcome, FieldError> {
    // In the form that Quorate writes, which may be longer than the one that came: `1e9` is 1000000000.
    if queue::excess(&report).is_some() {
        return Err(too_large(&report));
    }
    if report.status == "COMPLETED" {
        let output = match &report.output {
            Some(output) => value::to_json(output, "output")?,
            None => Json::Object(serde_json::Map::new()),
        };
        return Ok(ReportOutcome::Completed { output, effects: effects(report.effects)? });
    }
    if !report.effects.is_empty() {
        return Err(wrong("effects", EFFECTS_OF_COMPLETED));
    }
    let error = report.error.unwrap_or_default();
    let code = if error.code.is_empty() { "FAILED".to_owned() } else { error.code };
    let retryable = error.retryable.unwrap_or(true);
    let (code, message) = (clean(&code, ERROR_CODE_BYTES_MAX), clean(&error.message, ERROR_MESSAGE_BYTES_MAX));
    Ok(ReportOutcome::Failed { code, message, retryable })
}

/// That a report is too large, said of the field that takes most of it.
fn too_large(report: &JobReport) -> FieldError {
    let of = |part: JobReport| prost::Message::encoded_len(&part);
    let sizes = [
        ("output", of(JobReport { output: report.output.clone(), ..JobReport::default() })),
        ("effects", of(JobReport { effects: report.effects.clone(), ..JobReport::default() })),
        ("error", of(JobReport { error: report.error.clone(), ..JobReport::default() })),
        ("worker", of(JobReport { worker: report.worker.clone(), ..JobReport::default() })),
    ];
    let (field, _) = sizes.into_iter().max_by_key(|(_, size)| *size).unwrap_or(("output", 0));
    let bytes = queue::excess(report).unwrap_or_default();
    wrong(field, &format!("makes the report {bytes} bytes long as JSON: at most {BODY_BYTES_MAX} are allowed"))
}

/// The failure of an attempt by a result that cannot be read.
fn result_invalid(error: &FieldError) -> ReportOutcome {
    ReportOutcome::Failed {
        code: OUTPUT_INVALID.to_owned(),
        message: clean(&error.to_string(), ERROR_MESSAGE_BYTES_MAX),
        retryable: false,
    }
}

fn effects(effects: Vec<v1::JobEffect>) -> Result<Vec<FlowEffect>, FieldError> {
    if effects.len() > EFFECTS_MAX {
        return Err(wrong("effects", &format!("are {}: at most {EFFECTS_MAX} are allowed", effects.len())));
    }
    effects.into_iter().enumerate().map(|(index, effect)| read_effect(&format!("effects[{index}]"), effect)).collect()
}

fn read_effect(field: &str, effect: v1::JobEffect) -> Result<FlowEffect, FieldError> {
    match effect.effect {
        None => Err(wrong(field, "has to be one of comment, record_patch and event")),
        Some(Effect::Comment(comment)) => {
            let field = format!("{field}.comment");
            if comment.trim().is_empty() {
                return Err(wrong(&field, "must not be empty"));
            }
            Ok(FlowEffect::Comment(text(&field, comment, COMMENT_BYTES_MAX)?))
        }
        Some(Effect::RecordPatch(patch)) => {
            Ok(FlowEffect::RecordPatch(value::to_json(&patch, &format!("{field}.record_patch"))?))
        }
        Some(Effect::Event(event)) => Ok(FlowEffect::Emit(read_event(&format!("{field}.event"), event)?)),
    }
}

fn read_event(field: &str, event: v1::EmittedEvent) -> Result<EmittedEvent, FieldError> {
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let length = event.r#type.len();
    if !(1..=EVENT_TYPE_BYTES_MAX).contains(&length) || !event.r#type.bytes().all(is_type) {
        let reason = format!("has to be 1 to {EVENT_TYPE_BYTES_MAX} of A-Z a-z 0-9 . _ -");
        return Err(wrong(&format!("{field}.type"), &reason));
    }
    if event.r#type.starts_with(OWN_TYPES) {
        return Err(wrong(
            &format!("{field}.type"),
            "must not begin with `quorate.`: these tell what Quorate has done",
        ));
    }
    let attribute = |name: &str, value: String| {
        let value = text(&format!("{field}.{name}"), value, EVENT_ATTRIBUTE_BYTES_MAX)?;
        Ok::<_, FieldError>(Some(value).filter(|value| !value.is_empty()))
    };
    let data = event.data.map(|data| value::value_to_json(&data, &format!("{field}.data"))).transpose()?;
    let bytes = data.as_ref().map_or(0, |data| data.to_string().len());
    if bytes > EVENT_DATA_BYTES_MAX {
        let reason = format!("has {bytes} bytes as JSON: at most {EVENT_DATA_BYTES_MAX} are allowed");
        return Err(wrong(&format!("{field}.data"), &reason));
    }
    Ok(EmittedEvent {
        event_type: event.r#type,
        source: attribute("source", event.source)?,
        subject: attribute("subject", event.subject)?,
        data_schema: attribute("dataschema", event.dataschema)?,
        data,
    })
}

/// A text that is told to others: within its bound, and without what they cannot show.
fn text(field: &str, text: String, bytes_max: usize) -> Result<String, FieldError> {
    if text.len() > bytes_max {
        return Err(wrong(field, &format!("has {} bytes: at most {bytes_max} are allowed", text.len())));
    }
    if text.contains('\0') {
        return Err(wrong(field, "must not hold the character U+0000"));
    }
    Ok(text)
}

/// The beginning of a worker's text, without the character that the store cannot keep.
fn clean(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace('\0', "")
}

fn wrong(field: &str, reason: &str) -> FieldError {
    FieldError { field: field.to_owned(), reason: reason.to_owned() }
}
