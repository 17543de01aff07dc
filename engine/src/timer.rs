//! Timers: at which moments something follows from time alone.
//!
//! They are not kept: a submission's timers are read off its state, in which events have left the moments. The store has a row
//! for each, so that a server can find what is due; the engine never needs one, and a row too many costs one look.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    definition::ExpiryOutcome,
    id::{StepRunId, WorkItemId},
    state::{StepRun, Submission, VersionRef, WorkItem},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus},
};

/// A moment at which something follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: TimerKind,
}

/// What a timer is for. A submission has at most one of each at a time, so this is its key as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// An approval step's due date passes.
    StepDue(StepRunId),
    /// The time passes for which somebody keeps a work item for themselves.
    ClaimEnds(WorkItemId),
    /// Those who have not decided in a step are reminded.
    Reminder(StepRunId),
    /// Others are asked in a step.
    Escalation(StepRunId),
    /// A step ends where nobody has decided in time.
    Expiry(StepRunId),
}

/// The moments that an approval step's definition gives it: worked out when it starts, and then fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// When it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When those who have not decided are reminded, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reminders: Vec<Timestamp>,
    /// When others are asked, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalations: Vec<EscalatesAt>,
    /// When and how it ends where nobody has decided in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<ExpiresAt>,
    /// The version of the calendar that they were worked out with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<VersionRef>,
}

/// When others are asked, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalatesAt {
    /// When.
    pub at: Timestamp,
    /// The number of the step's rule, from 1.
    pub number: u32,
}

/// When and how a step ends where nobody has decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiresAt {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: ExpiryOutcome,
}

impl TimerKind {
    /// The kind as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StepDue(_) => "STEP_DUE",
            Self::ClaimEnds(_) => "CLAIM_ENDS",
            Self::Reminder(_) => "REMINDER",
            Self::Escalation(_) => "ESCALATION",
            Self::Expiry(_) => "EXPIRY",
        }
    }

    /// What it is a timer of.
    pub const fn subject(self) -> Uuid {
        match self {
            Self::ClaimEnds(work_item) => work_item.0,
            Self::StepDue(step_run)
            | Self::Reminder(step_run)
            | Self::Escalation(step_run)
            | Self::Expiry(step_run) => step_run.0,
        }
    }

    /// The timer of this kind and subject.
    pub fn from_parts(kind: &str, subject: Uuid) -> Option<Self> {
        match kind {
            "STEP_DUE" => Some(Self::StepDue(StepRunId(subject))),
            "CLAIM_ENDS" => Some(Self::ClaimEnds(WorkItemId(subject))),
            "REMINDER" => Some(Self::Reminder(StepRunId(subject))),
            "ESCALATION" => Some(Self::Escalation(StepRunId(subject))),
            "EXPIRY" => Some(Self::Expiry(StepRunId(subject))),
            _ => None,
        }
    }
}

impl Submission {
    /// What follows from time alone as things stand, earliest first. Every rule that waits for a moment has its timer here, and
    /// [`decide`](crate::decide::decide) fires those whose moment has come on [`Command::Wake`](crate::command::Command::Wake).
    pub fn timers(&self) -> Vec<Timer> {
        if self.status != SubmissionStatus::InProgress {
            return Vec::new();
        }
        let stage = self.current_stage().filter(|stage| stage.status == StageRunStatus::InProgress);
        let steps = stage.map_or(&[][..], |stage| &stage.steps);
        let in_progress = steps.iter().filter(|step| step.status == StepRunStatus::InProgress);
        let mut timers: Vec<Timer> = in_progress.flat_map(step_timers).collect();
        timers.sort_by_key(|timer| (timer.at, timer.kind));
        timers
    }
}

/// The timers of a step in progress.
fn step_timers(step: &StepRun) -> Vec<Timer> {
    let deadlines = &step.deadlines;
    let next = |done: u32| usize::try_from(done).unwrap_or(usize::MAX);
    // Where nobody is asked any more, nobody is late. A step may still expire: its own condition may never hold.
    let asks = step.work_items.iter().any(WorkItem::is_open);
    let due = deadlines.due_at.filter(|_| asks && !step.overdue);
    let reminder = deadlines.reminders.get(next(step.reminded)).filter(|_| asks).copied();
    let escalation = deadlines.escalations.get(next(step.escalated)).filter(|_| asks).map(|escalation| escalation.at);
    let expiry = deadlines.expiry.map(|expiry| expiry.at);
    [
        (due, TimerKind::StepDue(step.id)),
        (reminder, TimerKind::Reminder(step.id)),
        (escalation, TimerKind::Escalation(step.id)),
        (expiry, TimerKind::Expiry(step.id)),
    ]
    .into_iter()
    // Only open items are claimed.
    .chain(
        step.work_items
            .iter()
            .map(|item| (item.claim.as_ref().and_then(|claim| claim.until), TimerKind::ClaimEnds(item.id))),
    )
    .filter_map(|(at, kind)| Some(Timer { at: at?, kind }))
    .collect()
}
