//! Firing timers, and the moments that they wait for.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use crate::{
    calendar::{Calendar, TooFar},
    decision_rule::Votes,
    definition::{ApprovalStep, ExpiryOutcome, Lapse, Moment, Step, StepKind},
    event::EventKind,
    id::StepRunId,
    projection::{earlier, later},
    state::{Failure, FailureReason, Verdict, VersionRef},
    status::{StepRunStatus, WorkItemStatus},
    timer::{Deadlines, EscalatesAt, ExpiresAt, Timer, TimerKind},
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
        self.stop_evaluations_of(step_run);
        self.close_items(step_run, WorkItemStatus::Withdrawn);
        let outputs = serde_json::json!({ "decision": settled.as_str(), "comments": message, "reviewer": null });
        let (outputs, settled) = (Arc::new(outputs), Some(settled));
        self.emit(EventKind::StepCompleted { step_run, outputs, settled, reused: None, because: None });
        if settled == Some(Verdict::Reject) {
            self.reject(step_run);
        }
    }

    /// Works out a step's moments anew, counted from now. Where that cannot be done any more, it has those that it had.
    pub(super) fn reset_deadlines_of(&mut self, step_run: StepRunId, step: &ApprovalStep) {
        if let Ok(deadlines) = self.deadlines(step) {
            self.emit_deadlines(step_run, deadlines);
        }
    }

    pub(super) fn emit_deadlines(&mut self, step_run: StepRunId, deadlines: Deadlines) {
        if deadlines != Deadlines::default() {
            self.emit(EventKind::DeadlinesSet { step_run, deadlines });
        }
    }

    /// The moments of a step that starts now, in the calendar that is active now.
    pub(super) fn deadlines(&self, step: &ApprovalStep) -> Result<Deadlines, Failure> {
        let unfit = |message: String| Failure { reason: FailureReason::CalendarUnfit, message };
        let Some(name) = step.calendar.as_ref().filter(|_| counts_business_time(step)) else {
            return deadlines(step, None, self.context.now).map_err(|error| unfit(error.to_string()));
        };
        let Some((version, calendar)) = self.context.calendars.active.get(name) else {
            return Err(unfit(format!("calendar `{name}` has no active version")));
        };
        let deadlines = deadlines(step, Some(calendar), self.context.now);
        let mut deadlines = deadlines.map_err(|error| unfit(format!("calendar `{name}`: {error}")))?;
        deadlines.calendar = Some(VersionRef { name: name.clone(), version: *version });
        Ok(deadlines)
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
                self.reset_deadlines_of(step_run, approval);
            }
        }
    }
}

/// The moments of a step that starts now.
fn deadlines(step: &ApprovalStep, calendar: Option<&Calendar>, now: Timestamp) -> Result<Deadlines, TooFar> {
    let due_at = step.due.map(|due| after(calendar, now, due)).transpose()?;
    let moment = |moment: Moment| match moment {
        Moment::After(lapse) => after(calendar, now, lapse).map(Some),
        Moment::BeforeDue(lapse) => due_at.map(|due_at| before(calendar, due_at, lapse)).transpose(),
        Moment::AfterDue(None) => Ok(due_at),
        Moment::AfterDue(Some(lapse)) => due_at.map(|due_at| after(calendar, due_at, lapse)).transpose(),
    };
    let mut reminders = BTreeSet::new();
    for reminder in &step.remind {
        let mut at = moment(reminder.at)?;
        for time in 1..=reminder.times {
            // Nobody is reminded in the moment in which they are asked.
            reminders.extend(at.filter(|at| *at > now));
            let every = reminder.every.filter(|_| time < reminder.times);
            at = at.zip(every).map(|(at, every)| after(calendar, at, every)).transpose()?;
        }
    }
    let mut escalations = Vec::new();
    for (number, escalation) in (1..).zip(&step.escalate) {
        escalations.extend(moment(escalation.at)?.map(|at| EscalatesAt { at, number }));
    }
    escalations.sort_by_key(|escalation| (escalation.at, escalation.number));
    let expiry = match step.expire {
        Some(expiry) => moment(expiry.at)?.map(|at| ExpiresAt { at, outcome: expiry.outcome }),
        None => None,
    };
    Ok(Deadlines { due_at, reminders: reminders.into_iter().collect(), escalations, expiry, calendar: None })
}

fn counts_business_time(step: &ApprovalStep) -> bool {
    let of = |moment: Moment| match moment {
        Moment::After(lapse) | Moment::BeforeDue(lapse) => Some(lapse),
        Moment::AfterDue(lapse) => lapse,
    };
    let reminders = step.remind.iter().flat_map(|reminder| [of(reminder.at), reminder.every]);
    let escalations = step.escalate.iter().map(|escalation| of(escalation.at));
    let expiry = step.expire.map(|expiry| of(expiry.at));
    let lapses = [step.due].into_iter().chain(reminders).chain(escalations).chain(expiry).flatten();
    lapses.into_iter().any(|lapse| match lapse {
        Lapse::Time(_) => false,
        Lapse::Business(_) | Lapse::BusinessDays(_) => true,
    })
}

/// So long after a moment. A step whose moments are in business time has a calendar.
fn after(calendar: Option<&Calendar>, at: Timestamp, lapse: Lapse) -> Result<Timestamp, TooFar> {
    match (lapse, calendar) {
        (Lapse::Time(count), _) => Ok(later(at, count)),
        (Lapse::Business(count), Some(calendar)) => calendar.add_time(at, count),
        (Lapse::BusinessDays(count), Some(calendar)) => calendar.add_days(at, count),
        (Lapse::Business(_) | Lapse::BusinessDays(_), None) => Err(TooFar),
    }
}

/// So long before a moment.
fn before(calendar: Option<&Calendar>, at: Timestamp, lapse: Lapse) -> Result<Timestamp, TooFar> {
    match (lapse, calendar) {
        (Lapse::Time(count), _) => Ok(earlier(at, count)),
        (Lapse::Business(count), Some(calendar)) => calendar.subtract_time(at, count),
        (Lapse::BusinessDays(count), Some(calendar)) => calendar.subtract_days(at, count),
        (Lapse::Business(_) | Lapse::BusinessDays(_), None) => Err(TooFar),
    }
}
