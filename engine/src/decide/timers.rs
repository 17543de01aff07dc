//! Firing timers, and the moments that they wait for.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use crate::{
    decision_rule::Votes,
    definition::{ApprovalStep, ExpiryOutcome, Lapse, Moment, Step, StepKind},
    event::EventKind,
    id::StepRunId,
    projection::{earlier, later},
    state::{Deadlines, EscalatesAt, ExpiresAt, Failure, FailureReason, Verdict},
    status::{StepRunStatus, WorkItemStatus},
    timer::{Timer, TimerKind},
};

use super::{authorize::approval_step, draft::Draft, open_items};

impl Draft<'_, '_> {
    /// Fires every timer whose moment has come, earliest first; what firing one changes, the next one finds changed. Each that
    /// fires is no timer any more, so this ends.
    pub(super) fn fire_timers(&mut self) {
        while let Some(timer) = self.next_due() {
            let version = self.state.version;
            self.fire(timer.kind);
            if self.state.version == version {
                debug_assert!(false, "{timer:?} fires and changes nothing");
                return;
            }
        }
    }

    fn next_due(&self) -> Option<Timer> {
        self.state.timers().first().filter(|timer| timer.at <= self.context.now).copied()
    }

    fn fire(&mut self, kind: TimerKind) {
        match kind {
            TimerKind::StepDue(step_run) => self.emit(EventKind::StepOverdue { step_run }),
            TimerKind::Reminder(step_run) => self.remind(step_run),
            TimerKind::Escalation(step_run) => self.escalate(step_run),
            TimerKind::Expiry(step_run) => self.expire(step_run),
            TimerKind::ClaimEnds(work_item) => self.emit(EventKind::WorkItemReleased { work_item, by: None }),
        }
    }

    /// Reminds those who have not decided. Reminders that were missed while no server ran are made up for by one.
    fn remind(&mut self, step_run: StepRunId) {
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let passed = run.deadlines.reminders.iter().filter(|at| **at <= self.context.now).count();
        let (reminders, work_items) = (u32::try_from(passed).unwrap_or(u32::MAX), open_items(run));
        self.emit(EventKind::AssigneesReminded { step_run, reminders, work_items });
    }

    /// Ends a step that was not decided in time, as its definition says.
    fn expire(&mut self, step_run: StepRunId) {
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let Some(ExpiresAt { at, outcome }) = run.deadlines.expiry else { return };
        let step = approval_step(self.context.process, &run.name);
        let decided = step.and_then(|step| step.decision.outcome(Votes::of(run)));
        let message = format!("nobody decided by {at}, when the step expired");
        self.emit(EventKind::StepExpired { step_run, outcome });
        // What people have settled stands, also where the step has a condition of its own that did not hold.
        let settled = match (decided, outcome) {
            (Some(decided), ExpiryOutcome::Approve | ExpiryOutcome::Reject) => decided,
            (None, ExpiryOutcome::Approve) => Verdict::Approve,
            (None, ExpiryOutcome::Reject) => Verdict::Reject,
            (_, ExpiryOutcome::Error) => {
                return self.fail_step(step_run, Failure { reason: FailureReason::Expired, message });
            }
        };
        self.close_items(step_run, WorkItemStatus::Withdrawn);
        let outputs = serde_json::json!({ "decision": settled.as_str(), "comments": message, "reviewer": null });
        let (outputs, settled) = (Arc::new(outputs), Some(settled));
        self.emit(EventKind::StepCompleted { step_run, outputs, settled, reused: None });
        if settled == Some(Verdict::Reject) {
            self.reject(step_run);
        }
    }

    /// Works out a step's moments, counted from now.
    pub(super) fn set_deadlines(&mut self, step_run: StepRunId, step: &ApprovalStep) {
        let deadlines = deadlines(step, self.context.now);
        if deadlines != Deadlines::default() {
            self.emit(EventKind::DeadlinesSet { step_run, deadlines });
        }
    }

    /// Works out the moments of all steps in progress anew: while a submission was held, time was nobody's.
    pub(super) fn reset_deadlines(&mut self) {
        let Some((stage, steps)) = self.current() else { return };
        let step_of = |step: &'_ Step| {
            let run = stage.step(&step.name).filter(|run| run.status == StepRunStatus::InProgress)?;
            Some(run.id)
        };
        let runs: Vec<_> = steps.iter().filter_map(|step| Some((step_of(step)?, step))).collect();
        for (step_run, step) in runs {
            if let StepKind::Approval(approval) = &step.kind {
                self.set_deadlines(step_run, approval);
            }
        }
    }
}

/// The moments of a step that starts now.
fn deadlines(step: &ApprovalStep, now: Timestamp) -> Deadlines {
    let due_at = step.due.map(|due| after(now, due));
    let moment = |moment: Moment| match moment {
        Moment::After(lapse) => Some(after(now, lapse)),
        Moment::BeforeDue(lapse) => due_at.map(|due_at| before(due_at, lapse)),
        Moment::AfterDue(lapse) => due_at.map(|due_at| lapse.map_or(due_at, |lapse| after(due_at, lapse))),
    };
    let mut reminders = BTreeSet::new();
    for reminder in &step.remind {
        let mut at = moment(reminder.at);
        for _ in 0..reminder.times {
            // Nobody is reminded in the moment in which they are asked.
            reminders.extend(at.filter(|at| *at > now));
            at = at.zip(reminder.every).map(|(at, every)| after(at, every));
        }
    }
    let escalations = (1..).zip(&step.escalate);
    let mut escalations: Vec<EscalatesAt> = escalations
        .filter_map(|(number, escalation)| Some(EscalatesAt { at: moment(escalation.at)?, number }))
        .collect();
    escalations.sort_by_key(|escalation| (escalation.at, escalation.number));
    let expiry = step.expire.and_then(|expiry| Some(ExpiresAt { at: moment(expiry.at)?, outcome: expiry.outcome }));
    Deadlines { due_at, reminders: reminders.into_iter().collect(), escalations, expiry }
}

fn after(at: Timestamp, lapse: Lapse) -> Timestamp {
    match lapse {
        Lapse::Time(milliseconds) => later(at, milliseconds),
    }
}

fn before(at: Timestamp, lapse: Lapse) -> Timestamp {
    match lapse {
        Lapse::Time(milliseconds) => earlier(at, milliseconds),
    }
}
