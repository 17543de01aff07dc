//! What other systems are told of an event: a `CloudEvent` as `docs/events.md` describes it. How jobs go, and what only the engine needs, is
//! not told.

use quorate_engine::{
    Json,
    event::{EmittedEvent, Event, EventKind},
    id::{StageRunId, StepRunId, WorkItemId},
    state::{Decision, Ending, Failure, StageRun, StepRun, Submission, Verdict, WorkItem},
    status::{SubmissionStatus, WorkItemStatus},
};
use serde_json::{Map, json};

use crate::queue::LifecycleEvent;

macro_rules! types {
    ($($variant:ident = $text:literal,)*) => {
        /// What a message tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Type {
            $($variant,)*
        }

        impl Type {
            /// The routing key.
            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        /// The routing keys of all messages about the life of a submission, in the order of `docs/events.md`.
        pub const LIFECYCLE_TYPES: &[&str] = &[$($text),*];
    };
}

types! {
    Submitted = "submission.submitted",
    Commented = "submission.commented",
    RecordUpdated = "submission.record_updated",
    RecordChangeIgnored = "submission.record_change_ignored",
    SentBack = "submission.sent_back",
    Moved = "submission.moved",
    Migrated = "submission.migrated",
    Suspended = "submission.suspended",
    Resumed = "submission.resumed",
    RejectionStarted = "submission.rejection_started",
    RecallStarted = "submission.recall_started",
    CancelStarted = "submission.cancel_started",
    Failed = "submission.failed",
    Approved = "submission.approved",
    Rejected = "submission.rejected",
    Recalled = "submission.recalled",
    Canceled = "submission.canceled",
    StageStarted = "stage.started",
    StageCompleted = "stage.completed",
    StageDiscontinued = "stage.discontinued",
    StageFailed = "stage.failed",
    StageCanceled = "stage.canceled",
    StageRevived = "stage.revived",
    StepStarted = "step.started",
    StepCompleted = "step.completed",
    StepSkipped = "step.skipped",
    StepDiscontinued = "step.discontinued",
    StepFailed = "step.failed",
    StepCanceled = "step.canceled",
    StepRevived = "step.revived",
    StepOverdue = "step.overdue",
    StepReminded = "step.reminded",
    StepEscalated = "step.escalated",
    StepExpired = "step.expired",
    StepOverridden = "step.overridden",
    ItemAssigned = "work_item.assigned",
    ItemReassigned = "work_item.reassigned",
    ItemClaimed = "work_item.claimed",
    ItemReleased = "work_item.released",
    InformationRequested = "work_item.information_requested",
    InformationAnswered = "work_item.information_answered",
    ItemApproved = "work_item.approved",
    ItemRejected = "work_item.rejected",
    ItemAbstained = "work_item.abstained",
    ItemWithdrawn = "work_item.withdrawn",
    ItemCanceled = "work_item.canceled",
    ItemRecalled = "work_item.recalled",
    ItemErrored = "work_item.errored",
    ItemRevived = "work_item.revived",
}

/// What the routing keys of the events that flows tell begin with.
pub const FLOW_EVENTS: &str = "flow.";

/// Where in a submission something happened.
#[derive(Clone, Copy)]
enum Place {
    Submission,
    Stage(StageRunId),
    Step(StepRunId),
    Item(WorkItemId),
}

/// Whether other systems are told of such an event.
pub(super) fn is_announced(kind: &EventKind) -> bool {
    matches!(kind, EventKind::FlowEventEmitted { .. }) || told(kind).is_some()
}

/// The message of an event, where other systems are told of it. `state` is the submission right after it.
pub fn message(state: &Submission, sequence: u64, event: &Event) -> Option<LifecycleEvent> {
    if let EventKind::FlowEventEmitted { flow, event: emitted, .. } = &event.kind {
        return Some(flow_message(state, sequence, event, (&flow.name, emitted)));
    }
    let (of, place, more) = told(&event.kind)?;
    let mut data = subject(state);
    place_of(state, place, &mut data);
    data.extend(more);
    let own = json!({
        "source": format!("/quorate/{}", state.tenant),
        "type": format!("quorate.{}", of.as_str()),
        "datacontenttype": "application/json",
        "data": data,
    });
    Some(cloud_event(state, sequence, event, of.as_str().to_owned(), object(own)))
}

/// The message of what a flow tells, in the flow's words. Its routing key begins with what none of ours does, so that nobody takes
/// it for one.
fn flow_message(
    state: &Submission,
    sequence: u64,
    event: &Event,
    (flow, emitted): (&str, &EmittedEvent),
) -> LifecycleEvent {
    let source = emitted.source.clone().unwrap_or_else(|| format!("/quorate/{}/flows/{flow}", state.tenant));
    let mut own = object(json!({ "source": source, "type": emitted.event_type }));
    if let Some(subject) = &emitted.subject {
        own.insert("subject".to_owned(), json!(subject));
    }
    if let Some(schema) = &emitted.data_schema {
        own.insert("dataschema".to_owned(), json!(schema));
    }
    if let Some(data) = &emitted.data {
        own.insert("datacontenttype".to_owned(), json!("application/json"));
        own.insert("data".to_owned(), data.clone());
    }
    cloud_event(state, sequence, event, format!("{FLOW_EVENTS}{}", emitted.event_type), own)
}

/// A message with what all have in common, and with attributes of its own. It is about the submission where these do not say otherwise.
fn cloud_event(
    state: &Submission,
    sequence: u64,
    event: &Event,
    routing_key: String,
    own: Map<String, Json>,
) -> LifecycleEvent {
    let submission = state.id.to_string();
    let id = format!("{submission}/{sequence}");
    let mut body = object(json!({
        "specversion": "1.0",
        "id": id,
        "subject": submission,
        "time": event.at.to_string(),
        // Twenty digits hold every number, so that the texts sort as the numbers do.
        "sequence": format!("{sequence:020}"),
        "partitionkey": submission,
    }));
    if let Some(traceparent) = &state.traceparent {
        body.insert("traceparent".to_owned(), json!(traceparent));
    }
    body.extend(own);
    LifecycleEvent { routing_key, id, sequence, body: Json::Object(body) }
}

/// What every message says of the submission.
fn subject(state: &Submission) -> Map<String, Json> {
    let record = &state.record;
    object(json!({
        "submission": state.id.to_string(),
        "process": state.process.name,
        "process_version": state.process.version,
        "record": { "type": record.record_type, "id": record.id, "version": record.version, "digest": record.digest },
        "submitter": state.submitter,
        "status": state.status,
        "round": state.round,
    }))
}

fn place_of(state: &Submission, place: Place, data: &mut Map<String, Json>) {
    let mut insert = |name: &str, value: Json| drop(data.insert(name.to_owned(), value));
    let mut of_stage = |stage: &StageRun| {
        insert("stage", json!(stage.name));
        insert("stage_run", json!(stage.id.to_string()));
        insert("stage_round", json!(stage.round));
    };
    match place {
        Place::Submission => {}
        Place::Stage(id) => {
            if let Some(stage) = state.stage_runs.iter().find(|stage| stage.id == id) {
                of_stage(stage);
            }
        }
        Place::Step(id) => {
            if let Some((stage, step)) = state.step_run(id) {
                of_stage(stage);
                of_step(step, data);
            }
        }
        Place::Item(id) => {
            if let Some((stage, step, item)) = state.work_item(id) {
                of_stage(stage);
                of_step(step, data);
                of_item(item, data);
            }
        }
    }
}

fn of_step(step: &StepRun, data: &mut Map<String, Json>) {
    data.insert("step".to_owned(), json!(step.name));
    data.insert("step_run".to_owned(), json!(step.id.to_string()));
    data.insert("step_round".to_owned(), json!(step.round));
}

fn of_item(item: &WorkItem, data: &mut Map<String, Json>) {
    data.insert("work_item".to_owned(), json!(item.id.to_string()));
    data.insert("assignee".to_owned(), json!(item.assignee));
}

/// What is told of an event, where it happened, and what there is to say besides.
#[allow(clippy::too_many_lines, reason = "an arm for each event: it is read as a table")]
fn told(kind: &EventKind) -> Option<(Type, Place, Map<String, Json>)> {
    use Place::{Item, Stage, Step, Submission};
    let (of, place, more) = match kind {
        EventKind::Submitted { on_behalf_of, comment, summary, resubmission, .. } => {
            let resubmission_of = resubmission.as_ref().map(|resubmission| resubmission.of.to_string());
            let more = json!({ "on_behalf_of": on_behalf_of, "comment": comment, "summary": summary,
                "resubmission_of": resubmission_of });
            (Type::Submitted, Submission, more)
        }
        EventKind::Commented { by, comment } => (Type::Commented, Submission, by_and_comment(by, comment)),
        EventKind::RecordUpdated { by, comment, summary, dismissed, .. } => {
            let more = json!({ "by": by, "comment": comment, "summary": summary, "dismissed": dismissed });
            (Type::RecordUpdated, Submission, more)
        }
        EventKind::RecordChangeIgnored { by, digest, source_version, reason, message } => {
            let failure = json!({ "reason": reason, "message": message });
            let more = json!({ "by": by, "digest": digest, "source_version": source_version, "failure": failure });
            (Type::RecordChangeIgnored, Submission, more)
        }
        EventKind::StageStarted { stage_run, ending, .. } => {
            (Type::StageStarted, Stage(*stage_run), json!({ "ending": ending.map(Ending::status) }))
        }
        EventKind::StageCompleted { stage_run, .. } => (Type::StageCompleted, Stage(*stage_run), Json::Null),
        EventKind::StageDiscontinued { stage_run } => (Type::StageDiscontinued, Stage(*stage_run), Json::Null),
        EventKind::StageFailed { stage_run, failure } => (Type::StageFailed, Stage(*stage_run), failed(failure)),
        EventKind::StageCanceled { stage_run } => (Type::StageCanceled, Stage(*stage_run), Json::Null),
        EventKind::StageRevived { stage_run, by } => (Type::StageRevived, Stage(*stage_run), json!({ "by": by })),
        EventKind::StepStarted { step_run, .. } => (Type::StepStarted, Step(*step_run), Json::Null),
        EventKind::StepCompleted { step_run, settled, reused, .. } => {
            let reused_from = reused.as_ref().map(|reused| reused.submission.to_string());
            let more = json!({ "verdict": settled.map(Verdict::as_str), "reused_from": reused_from });
            (Type::StepCompleted, Step(*step_run), more)
        }
        EventKind::StepFailed { step_run, failure } => (Type::StepFailed, Step(*step_run), failed(failure)),
        EventKind::StepDiscontinued { step_run } => (Type::StepDiscontinued, Step(*step_run), Json::Null),
        EventKind::StepCanceled { step_run } => (Type::StepCanceled, Step(*step_run), Json::Null),
        EventKind::StepRevived { step_run, .. } => (Type::StepRevived, Step(*step_run), Json::Null),
        EventKind::StepSkipped { step_run, by, comment, .. } => {
            (Type::StepSkipped, Step(*step_run), by_and_comment(by, comment))
        }
        EventKind::StepOverdue { step_run } => (Type::StepOverdue, Step(*step_run), Json::Null),
        EventKind::AssigneesReminded { step_run, reminders, work_items } => {
            (Type::StepReminded, Step(*step_run), json!({ "reminders": reminders, "work_items": work_items }))
        }
        EventKind::StepEscalated { step_run, escalation, replaced, .. } => {
            (Type::StepEscalated, Step(*step_run), json!({ "escalation": escalation, "replaced": replaced }))
        }
        EventKind::StepExpired { step_run, outcome } => {
            (Type::StepExpired, Step(*step_run), json!({ "outcome": outcome }))
        }
        EventKind::StepOverridden { step_run, decision } => {
            (Type::StepOverridden, Step(*step_run), json!({ "decision": decided(decision) }))
        }
        EventKind::WorkItemAssigned { work_item, reason, .. } => {
            (Type::ItemAssigned, Item(*work_item), json!({ "reason": reason }))
        }
        EventKind::WorkItemDecided { work_item, decision } => {
            let of = match decision.verdict {
                Verdict::Approve => Type::ItemApproved,
                Verdict::Reject => Type::ItemRejected,
                Verdict::Abstain => Type::ItemAbstained,
            };
            (of, Item(*work_item), json!({ "decision": decided(decision) }))
        }
        EventKind::WorkItemReassigned { work_item, from, by, comment, .. } => {
            (Type::ItemReassigned, Item(*work_item), json!({ "from": from, "by": by, "comment": comment }))
        }
        EventKind::WorkItemClaimed { work_item, by, until } => {
            (Type::ItemClaimed, Item(*work_item), json!({ "by": by, "until": until }))
        }
        EventKind::WorkItemReleased { work_item, by } => (Type::ItemReleased, Item(*work_item), json!({ "by": by })),
        EventKind::InformationRequested { work_item, by, question } => {
            (Type::InformationRequested, Item(*work_item), json!({ "by": by, "question": question }))
        }
        EventKind::InformationAnswered { work_item, by, answer } => {
            (Type::InformationAnswered, Item(*work_item), json!({ "by": by, "answer": answer }))
        }
        EventKind::SentBack { work_item, to, by, comment, .. } => {
            (Type::SentBack, Item(*work_item), json!({ "to": to, "by": by, "comment": comment }))
        }
        EventKind::WorkItemClosed { work_item, status } => {
            let of = match status {
                WorkItemStatus::Withdrawn => Type::ItemWithdrawn,
                WorkItemStatus::Canceled => Type::ItemCanceled,
                WorkItemStatus::Recalled => Type::ItemRecalled,
                WorkItemStatus::Errored => Type::ItemErrored,
                // No item is closed so: it is open, or decided.
                WorkItemStatus::Assigned
                | WorkItemStatus::Approved
                | WorkItemStatus::Rejected
                | WorkItemStatus::Abstained => return None,
            };
            (of, Item(*work_item), Json::Null)
        }
        EventKind::WorkItemRevived { work_item } => (Type::ItemRevived, Item(*work_item), Json::Null),
        EventKind::RejectionDecided { step_run } => {
            (Type::RejectionStarted, step_run.map_or(Submission, Step), Json::Null)
        }
        EventKind::Recalled { by, comment } => (Type::RecallStarted, Submission, by_and_comment(by, comment)),
        EventKind::Canceled { by, comment } => (Type::CancelStarted, Submission, by_and_comment(by, comment)),
        EventKind::SubmissionSuspended { by, comment } => (Type::Suspended, Submission, by_and_comment(by, comment)),
        EventKind::SubmissionResumed { by, comment } => (Type::Resumed, Submission, by_and_comment(by, comment)),
        EventKind::MovedToStage { stage, by, comment } => {
            (Type::Moved, Submission, json!({ "to": stage, "by": by, "comment": comment }))
        }
        EventKind::SubmissionMigrated { from, by, comment, .. } => {
            (Type::Migrated, Submission, json!({ "from_version": from.version, "by": by, "comment": comment }))
        }
        EventKind::SubmissionFailed { failure } => (Type::Failed, Submission, failed(failure)),
        EventKind::SubmissionEnded { status } => {
            let of = match status {
                SubmissionStatus::Approved => Type::Approved,
                SubmissionStatus::Rejected => Type::Rejected,
                SubmissionStatus::Recalled => Type::Recalled,
                SubmissionStatus::Canceled => Type::Canceled,
                // A submission in these has not ended.
                SubmissionStatus::InProgress | SubmissionStatus::Error | SubmissionStatus::Suspended => return None,
            };
            (of, Submission, Json::Null)
        }
        // Told in the flow's own words.
        EventKind::FlowEventEmitted { .. }
        | EventKind::RecordLocked { .. }
        | EventKind::AssigneesLeftOut { .. }
        | EventKind::DeadlinesSet { .. }
        | EventKind::JobScheduled { .. }
        | EventKind::JobStarted { .. }
        | EventKind::JobAttemptFailed { .. }
        | EventKind::JobCompleted { .. }
        | EventKind::JobFailed { .. }
        | EventKind::JobCanceled { .. }
        | EventKind::JobRevived { .. }
        | EventKind::EvaluationScheduled { .. }
        | EventKind::EvaluationCompleted { .. } => return None,
    };
    let mut more = object(more);
    // What there is nothing to say of is left out.
    more.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    Some((of, place, more))
}

fn by_and_comment(by: &impl serde::Serialize, comment: &str) -> Json {
    json!({ "by": by, "comment": comment })
}

fn failed(failure: &Failure) -> Json {
    json!({ "failure": { "reason": failure.reason, "message": failure.message } })
}

/// A decision, without what was filled in on screens.
fn decided(decision: &Decision) -> Json {
    let mut said = object(json!({
        "verdict": decision.verdict,
        "by": decision.actor,
        "on_behalf_of": decision.on_behalf_of,
        "delegation": decision.delegation,
        "comment": decision.comment,
        "channel": decision.channel,
        "record_digest": decision.record_digest,
    }));
    said.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    Json::Object(said)
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}
