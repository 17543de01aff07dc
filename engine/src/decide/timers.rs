//! Firing timers, and the moments that they wait for.

use crate::{
    definition::ApprovalStep,
    event::EventKind,
    id::StepRunId,
    projection::later,
    state::Deadlines,
    timer::{Timer, TimerKind},
};

use super::draft::Draft;

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
            TimerKind::ClaimEnds(work_item) => self.emit(EventKind::WorkItemReleased { work_item, by: None }),
        }
    }

    /// Works out a step's moments, counted from now.
    pub(super) fn set_deadlines(&mut self, step_run: StepRunId, step: &ApprovalStep) {
        let deadlines = Deadlines { due_at: step.due.map(|due| later(self.context.now, due)) };
        if deadlines != Deadlines::default() {
            self.emit(EventKind::DeadlinesSet { step_run, deadlines });
        }
    }
}
