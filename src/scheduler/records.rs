//! Changes of records in the systems that they live in: which submissions they concern, and which they begin (DESIGN 2.2, 3).
//!
//! A change is told by a call or by a message of the queue `quorate.records`. What it does, it does by the lanes as anything else
//! does, a command for each submission that it concerns; so it may be done in part when the server dies, and is done whole when it is
//! told again. A new submission gets the id that this record, this process and the record's submission before it give: two that
//! tell of it at once ask for the same submission, of which there is then one.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream};
use quorate_engine::{
    Json,
    command::{Actor, Command, Reported, UpdateRecord},
    decide::record_digest,
    directory::check_name,
    id::{SubmissionId, Tenant, UserName},
    projection::SubmissionRow,
    refusal::Refusal,
    state::{FailureReason, Submission},
    status::SubmissionStatus,
    trace::TraceParent,
    trigger::ChangeKind,
};
use quorate_store::{
    log::Hash,
    query::SubmissionQuery,
    store::{Batch, RequestKey, RequestRow},
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    proto::{v1, value},
    queue::{Acknowledge, Delivery, QueueUnavailable},
};

use super::{Ask, Rejection, Request, Scheduler, SubmitAsk, held::Pauses, lane::log_store_error};

/// How many open submissions a record may have to be told of a change: far more than there are processes for a type of record. A change
/// that concerns more is refused whole.
pub const RECORD_SUBMISSIONS_MAX: u32 = 200;

/// The statuses of what has not ended.
const OPEN: [SubmissionStatus; 3] =
    [SubmissionStatus::InProgress, SubmissionStatus::Error, SubmissionStatus::Suspended];

/// How many commands of one change are at the lanes at once.
const AT_ONCE_MAX: usize = 16;

/// How many changes of the queue are carried out at once.
const CHANGES_AT_ONCE_MAX: usize = 32;

/// How long texts of a message may be, in bytes: as in calls.
const TEXT_BYTES_MAX: usize = 256;

/// Who tells, where a message does not say so.
const REPORTER: &str = "records";

/// A change of a record.
#[derive(Clone, Debug)]
pub struct RecordChange {
    /// Whose.
    pub tenant: Tenant,
    /// The record's type.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// All of its data: an object.
    pub data: Arc<Json>,
    /// What has happened.
    pub kind: ChangeKind,
    /// The number of the change, where its system counts them.
    pub source_version: Option<u64>,
    /// Who tells.
    pub by: Actor,
    /// Whoever changed it there.
    pub on_behalf_of: Option<UserName>,
    /// By what it is known when it is told again.
    pub key: Option<(RequestKey, Hash)>,
    /// The trace of the call, where it named one.
    pub traceparent: Option<TraceParent>,
}

/// What a change came to in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The process.
    pub process: String,
    /// The submission that it concerned, or began.
    pub submission: Option<SubmissionId>,
    /// What was done.
    pub outcome: Outcome,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record was submitted.
    Submitted,
    /// A submission has the new data.
    Updated,
    /// A submission had it already, or has newer data.
    Unchanged,
    /// Its process does not take it.
    Ignored(Because),
    /// It was refused.
    Refused(Because),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// A stable reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Scheduler {
    /// Carries out what a change brings about. `Err`: it could not be done whole just now, and is to be told again.
    pub async fn report_change(&self, change: &RecordChange) -> Result<Vec<Effect>, Rejection> {
        if let Some((key, digest)) = &change.key
            && let Some(row) = self.store().request(key).await.map_err(|error| log_store_error(&error))?
        {
            let answer = row.answer.as_deref().filter(|_| row.digest == *digest).ok_or(Rejection::RequestReused)?;
            return effects_of(answer);
        }
        let digest = record_digest(&change.data);
        let newest = self.of_record(change, None, None).await?;
        let open = self.open_of_record(change, &newest).await?;
        let mut asked = Vec::new();
        let mut effects = Vec::new();
        for row in &open {
            if row.record_digest == digest {
                effects.push(effect(&row.process, Some(row.id), Outcome::Unchanged));
            } else {
                asked.push((row.process.clone(), row.id, Asked::Update));
            }
        }
        for (process, begins) in self.triggered(change, &newest, &open, &digest).await? {
            match begins {
                Ok(id) => asked.push((process, id, Asked::Submit)),
                Err(because) => effects.push(effect(&process, None, Outcome::Refused(because))),
            }
        }
        let done = stream::iter(asked.into_iter().map(|(process, id, asked)| {
            let digest = &digest;
            async move {
                let outcome = self.carry_out(change, &process, id, asked, digest).await?;
                let submission = match (asked, &outcome) {
                    (Asked::Submit, Outcome::Refused(_)) => None,
                    _ => Some(id),
                };
                Ok(effect(&process, submission, outcome))
            }
        }));
        let done: Vec<Result<Effect, Rejection>> = done.buffered(AT_ONCE_MAX).collect().await;
        for effect in done {
            effects.push(effect?);
        }
        if let Some((key, digest)) = &change.key {
            self.remember(key, digest, &effects).await?;
        }
        Ok(effects)
    }

    /// Submissions of the record, newest first; where a process is named, the newest there.
    async fn of_record(
        &self,
        change: &RecordChange,
        process: Option<&str>,
        status: Option<SubmissionStatus>,
    ) -> Result<Vec<SubmissionRow>, Rejection> {
        let query = SubmissionQuery {
            tenant: change.tenant.clone(),
            process: process.map(str::to_owned),
            status,
            submitter: None,
            record_type: Some(change.record_type.clone()),
            record_id: Some(change.record_id.clone()),
            descending: true,
            after: None,
            // One more than there may be, to see that there are more.
            limit: if process.is_some() { 1 } else { RECORD_SUBMISSIONS_MAX + 1 },
        };
        self.store().list_submissions(&query).await.map_err(|error| log_store_error(&error))
    }

    /// What of the record has not ended, however much has ended since: one query by an index for each status.
    async fn open_of_record(
        &self,
        change: &RecordChange,
        newest: &[SubmissionRow],
    ) -> Result<Vec<SubmissionRow>, Rejection> {
        let mut open: BTreeMap<SubmissionId, SubmissionRow> = BTreeMap::new();
        for status in OPEN {
            open.extend(self.of_record(change, None, Some(status)).await?.into_iter().map(|row| (row.id, row)));
        }
        // One that went from a status to another between the queries is among these.
        let seen = newest.iter().filter(|row| !row.status.is_terminal());
        for row in seen {
            open.entry(row.id).or_insert_with(|| row.clone());
        }
        if open.len() > RECORD_SUBMISSIONS_MAX as usize {
            return Err(Rejection::TooManyOpen { max: RECORD_SUBMISSIONS_MAX });
        }
        Ok(open.into_values().collect())
    }

    /// The processes that the change submits the record to, with the id of the submission, or why it could not be told whether.
    async fn triggered(
        &self,
        change: &RecordChange,
        newest: &[SubmissionRow],
        open: &[SubmissionRow],
        digest: &str,
    ) -> Result<Vec<(String, Result<SubmissionId, Because>)>, Rejection> {
        let snapshot = self.catalog().current(&change.tenant).await.map_err(|error| log_store_error(&error))?;
        let mut last: BTreeMap<&str, &SubmissionRow> = BTreeMap::new();
        for row in newest.iter().rev() {
            last.insert(&row.process, row);
        }
        // Then what is not among them may be older.
        let there_are_more = newest.len() > RECORD_SUBMISSIONS_MAX as usize;
        let is_open = |process: &str| open.iter().any(|row| row.process == process);
        let now = self.clock().now();
        let mut triggered = Vec::new();
        for version in snapshot.processes_of(&change.record_type) {
            let older = match last.get(version.name.as_str()) {
                None if there_are_more => self.of_record(change, Some(&version.name), None).await?.pop(),
                _ => None,
            };
            let before = last.get(version.name.as_str()).copied().or(older.as_ref());
            // What was decided on is not asked again while it is what it was.
            if is_open(&version.name) || before.is_some_and(|row| row.record_digest == digest) {
                continue;
            }
            // From memory, unless it has not been asked for since the server started.
            let process = self.catalog().process(&change.tenant, version).await;
            let Some(process) = process.map_err(|error| log_store_error(&error))? else { continue };
            match process.is_triggered_by(change.kind, &change.data, now) {
                Ok(false) => {}
                Ok(true) => {
                    let id = next_id(change, &version.name, before.map(|row| row.id));
                    triggered.push((version.name.clone(), Ok(id)));
                }
                Err(message) => {
                    let reason = FailureReason::ExpressionFailed.as_str().to_owned();
                    triggered.push((version.name.clone(), Err(Because { reason, message })));
                }
            }
        }
        Ok(triggered)
    }

    async fn carry_out(
        &self,
        change: &RecordChange,
        process: &str,
        id: SubmissionId,
        asked: Asked,
        digest: &str,
    ) -> Result<Outcome, Rejection> {
        let submitted = match asked {
            Asked::Update => false,
            Asked::Submit => match self.ask_of(change, id, submit(change, process)).await? {
                Err(because) => return Ok(Outcome::Refused(because)),
                Ok(state) if state.record.digest == digest => return Ok(Outcome::Submitted),
                // Somebody else has told of another change of it at the same moment, and was first.
                Ok(_) => true,
            },
        };
        Ok(match self.ask_of(change, id, update(change)).await? {
            Err(because) => Outcome::Refused(because),
            Ok(state) if state.record.digest == digest && submitted => Outcome::Submitted,
            Ok(state) if state.record.digest == digest => Outcome::Updated,
            Ok(state) => match &state.ignored_change {
                Some(ignored) if ignored.digest == digest => {
                    Outcome::Ignored(Because { reason: ignored.reason.clone(), message: ignored.message.clone() })
                }
                _ => Outcome::Unchanged,
            },
        })
    }

    /// The lane's answer, or its refusal; `Err` for what may be otherwise when it is asked again.
    async fn ask_of(
        &self,
        change: &RecordChange,
        submission: SubmissionId,
        ask: Ask,
    ) -> Result<Result<Arc<Submission>, Because>, Rejection> {
        let request = Request { tenant: change.tenant.clone(), submission, ask, key: None };
        match self.ask_in_turn(request).await {
            Ok(state) => Ok(Ok(state)),
            // It ended meanwhile.
            Err(Rejection::Refused(refusal)) => Ok(Err(because(&refusal))),
            Err(Rejection::ProcessNotActive(process)) => Ok(Err(Because {
                reason: "PROCESS_NOT_ACTIVE".to_owned(),
                message: format!("process `{process}` has no active version"),
            })),
            Err(
                rejection @ (Rejection::RequestReused
                | Rejection::TooManyOpen { .. }
                | Rejection::Overloaded
                | Rejection::Unavailable
                | Rejection::Internal),
            ) => Err(rejection),
        }
    }

    /// Keeps the answer, for when the change is told again.
    async fn remember(&self, key: &RequestKey, digest: &Hash, effects: &[Effect]) -> Result<(), Rejection> {
        let at = self.clock().now();
        let answer = Some(prost::Message::encode_to_vec(&answer_of(effects)));
        let row = RequestRow { key: key.clone(), digest: *digest, submission: None, version: 0, answer, at };
        let batch = Batch { requests: vec![row], now: Some(at), ..Batch::default() };
        match self.store().commit(&batch).await {
            // Told twice at once, and answered by the other.
            Ok(()) | Err(quorate_store::StoreError::Conflict) => Ok(()),
            Err(error) => Err(log_store_error(&error)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Submit,
    Update,
}

fn submit(change: &RecordChange, process: &str) -> Ask {
    Ask::Submit(Box::new(SubmitAsk {
        process: process.to_owned(),
        record_type: change.record_type.clone(),
        record_id: change.record_id.clone(),
        data: Arc::clone(&change.data),
        submitter: change.by.name.clone(),
        on_behalf_of: change.on_behalf_of.clone(),
        comment: String::new(),
        choices: BTreeMap::new(),
        source_version: change.source_version,
        administrator: change.by.administrator,
        before: None,
        traceparent: change.traceparent.clone(),
        may_exist: true,
    }))
}

fn update(change: &RecordChange) -> Ask {
    Ask::Command(Command::UpdateRecord(Box::new(UpdateRecord {
        by: change.by.clone(),
        data: Arc::clone(&change.data),
        comment: String::new(),
        reported: Some(Reported { source_version: change.source_version }),
    })))
}

/// The id of the submission that a trigger begins: the same for all who tell of a change of this record while the submission before
/// it is the newest. (A version 8 UUID: it has no time in it, on which two servers would not agree.)
fn next_id(change: &RecordChange, process: &str, before: Option<SubmissionId>) -> SubmissionId {
    let mut hasher = Sha256::new();
    for part in [change.tenant.as_str(), process, &change.record_type, &change.record_id] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.update(before.map_or([0; 16], |before| *before.0.as_bytes()));
    let digest: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    SubmissionId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

fn effect(process: &str, submission: Option<SubmissionId>, outcome: Outcome) -> Effect {
    Effect { process: process.to_owned(), submission, outcome }
}

fn because(refusal: &Refusal) -> Because {
    Because { reason: refusal.reason().to_owned(), message: refusal.to_string() }
}

/// The answer to whoever tells.
pub(crate) fn answer_of(effects: &[Effect]) -> v1::RecordServiceReportChangeResponse {
    use v1::change_effect::Outcome as Said;
    let said = |effect: &Effect| {
        let (outcome, because) = match &effect.outcome {
            Outcome::Submitted => (Said::Submitted, None),
            Outcome::Updated => (Said::Updated, None),
            Outcome::Unchanged => (Said::Unchanged, None),
            Outcome::Ignored(because) => (Said::Ignored, Some(because)),
            Outcome::Refused(because) => (Said::Refused, Some(because)),
        };
        v1::ChangeEffect {
            process: effect.process.clone(),
            submission: effect.submission.map(|id| id.to_string()).unwrap_or_default(),
            outcome: outcome.into(),
            reason: because.map(|because| because.reason.clone()).unwrap_or_default(),
            message: because.map(|because| because.message.clone()).unwrap_or_default(),
        }
    };
    v1::RecordServiceReportChangeResponse { effects: effects.iter().map(said).collect() }
}

/// The effects of an answer that was kept.
fn effects_of(answer: &[u8]) -> Result<Vec<Effect>, Rejection> {
    use v1::change_effect::Outcome as Said;
    let unreadable = |reason: String| {
        log_store_error(&quorate_store::StoreError::Internal(format!("a stored answer cannot be read: {reason}")))
    };
    let answer = <v1::RecordServiceReportChangeResponse as prost::Message>::decode(answer)
        .map_err(|error| unreadable(error.to_string()))?;
    let read = |effect: v1::ChangeEffect| {
        let said = effect.outcome();
        let because = Because { reason: effect.reason, message: effect.message };
        let outcome = match said {
            Said::Submitted => Outcome::Submitted,
            Said::Updated => Outcome::Updated,
            Said::Unchanged => Outcome::Unchanged,
            Said::Ignored => Outcome::Ignored(because),
            Said::Refused => Outcome::Refused(because),
            Said::Unspecified => return Err(unreadable("no outcome".to_owned())),
        };
        Ok(Effect { process: effect.process, submission: effect.submission.parse().ok(), outcome })
    };
    answer.effects.into_iter().map(read).collect()
}

/// Takes changes from the queue until it is stopped, and lets those that are under way finish.
pub(super) async fn run(scheduler: Scheduler, stop: CancellationToken) {
    let changes = scheduler.queue().record_changes().take_until(stop.cancelled());
    changes
        .for_each_concurrent(CHANGES_AT_ONCE_MAX, |delivery| {
            let (scheduler, stop) = (&scheduler, &stop);
            async move { apply(scheduler, delivery, stop).await }
        })
        .await;
}

async fn apply(scheduler: &Scheduler, delivery: Delivery<v1::RecordChange>, stop: &CancellationToken) {
    let Delivery { body, acknowledge, .. } = delivery;
    let settled = match read(body) {
        Err(reason) => {
            tracing::warn!(reason, "a change of a record was buried");
            acknowledge.bury(&reason).await
        }
        Ok(change) => carry_out(scheduler, &change, acknowledge, stop).await,
    };
    if let Err(error) = settled {
        // It comes again, and finds itself done.
        tracing::debug!(%error, "a change of a record could not be settled");
    }
}

/// Carries a change out as soon as it can be, and settles its delivery.
async fn carry_out(
    scheduler: &Scheduler,
    change: &RecordChange,
    acknowledge: Box<dyn Acknowledge>,
    stop: &CancellationToken,
) -> Result<(), QueueUnavailable> {
    let mut pauses = Pauses::new();
    loop {
        match scheduler.report_change(change).await {
            Ok(effects) => {
                tracing::debug!(record.kind = change.record_type, effects = effects.len(), "a record changed");
                return acknowledge.acknowledge().await;
            }
            Err(Rejection::RequestReused) => {
                return acknowledge.bury("request_id: was used before with another change").await;
            }
            Err(rejection @ Rejection::TooManyOpen { .. }) => return acknowledge.bury(&rejection.to_string()).await,
            Err(rejection) => {
                tracing::debug!(%rejection, "a change of a record is held until it can be carried out");
                if !pauses.pause(stop).await {
                    return acknowledge.release().await;
                }
            }
        }
    }
}

/// A change as a message tells of it. `Err` says which field is wrong: no further delivery will make it right.
fn read(mut message: v1::RecordChange) -> Result<RecordChange, String> {
    // The same change may be told again under another span.
    let traceparent = TraceParent::parse(&std::mem::take(&mut message.traceparent));
    let texts = [
        ("tenant", &message.tenant),
        ("request_id", &message.request_id),
        ("record_type", &message.record_type),
        ("record_id", &message.record_id),
        ("on_behalf_of", &message.on_behalf_of),
        ("reported_by", &message.reported_by),
    ];
    for (field, text) in texts {
        if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            return Err(format!("{field}: has to be at most {TEXT_BYTES_MAX} bytes without control characters"));
        }
    }
    for (field, text) in [("record_type", &message.record_type), ("record_id", &message.record_id)] {
        if text.is_empty() {
            return Err(format!("{field}: is missing"));
        }
    }
    let tenant = if message.tenant.is_empty() { crate::TENANT } else { &message.tenant };
    if tenant != crate::TENANT {
        return Err(format!("tenant: there is no tenant `{tenant}`"));
    }
    let kind = ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == message.kind);
    let kind = kind.ok_or("kind: is neither CREATED nor UPDATED")?;
    let data = message.data.as_ref().ok_or("data: is missing")?;
    let data = value::to_json(data, "data").map_err(|error| format!("{}: {error}", error.path()))?;
    let by = if message.reported_by.is_empty() { REPORTER } else { &message.reported_by };
    let name = |field: &str, name: &str| match check_name(name) {
        Ok(()) => Ok(UserName::from(name)),
        Err(error) => Err(format!("{field}: {error}")),
    };
    let by = Actor { name: name("reported_by", by)?, administrator: false };
    let on_behalf_of = Some(message.on_behalf_of.as_str()).filter(|name| !name.is_empty());
    let on_behalf_of = on_behalf_of.map(|person| name("on_behalf_of", person)).transpose()?;
    let key = (!message.request_id.is_empty()).then(|| {
        let key = RequestKey {
            tenant: Tenant::from(tenant),
            principal: by.name.to_string(),
            request_id: message.request_id.clone(),
        };
        (key, Sha256::digest(prost::Message::encode_to_vec(&message)).into())
    });
    Ok(RecordChange {
        tenant: Tenant::from(tenant),
        record_type: message.record_type,
        record_id: message.record_id,
        data: Arc::new(data),
        kind,
        source_version: (message.source_version != 0).then_some(message.source_version),
        by,
        on_behalf_of,
        key,
        traceparent,
    })
}
