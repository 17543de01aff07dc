//! Timers: at which moments something follows from time alone.
//!
//! They are not kept: a submission's timers are read off its state, in which events have left the moments. The store has a row
//! for each, so that a server can find what is due; the engine never needs one, and a row too many costs one look.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    id::{StepRunId, WorkItemId},
    state::{StepRun, Submission},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
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
}

impl TimerKind {
    /// The kind as it is written everywhere outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StepDue(_) => "STEP_DUE",
            Self::ClaimEnds(_) => "CLAIM_ENDS",
        }
    }

    /// What it is a timer of.
    pub const fn subject(self) -> Uuid {
        match self {
            Self::StepDue(step_run) => step_run.0,
            Self::ClaimEnds(work_item) => work_item.0,
        }
    }

    /// The timer of this kind and subject.
    pub fn from_parts(kind: &str, subject: Uuid) -> Option<Self> {
        match kind {
            "STEP_DUE" => Some(Self::StepDue(StepRunId(subject))),
            "CLAIM_ENDS" => Some(Self::ClaimEnds(WorkItemId(subject))),
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
    let mut timers = Vec::new();
    // Where nobody is asked any more, nobody is late.
    let asks = step.work_items.iter().any(|item| item.status == WorkItemStatus::Assigned);
    if let (true, false, Some(at)) = (asks, step.overdue, step.deadlines.due_at) {
        timers.push(Timer { at, kind: TimerKind::StepDue(step.id) });
    }
    // Only open items are claimed.
    timers.extend(step.work_items.iter().filter_map(|item| {
        let at = item.claim.as_ref()?.until?;
        Some(Timer { at, kind: TimerKind::ClaimEnds(item.id) })
    }));
    timers
}
