//! A draft: the state as the events decided so far have left it.

use crate::{
    context::Context,
    definition::{Stage, Step},
    event::{Because, Event, EventKind, NewStepRun},
    evolve::evolve,
    expression::Value,
    id::{StageRunId, StepRunId},
    state::{Ending, StageRun, Submission},
};

use super::Decided;

/// The state under decision. Everything that happens goes through [`Draft::emit`], so that the state is always the one that
/// a replay of the events will give.
pub(super) struct Draft<'d, 'c> {
    pub(super) state: Submission,
    pub(super) context: &'d mut Context<'c>,
    pub(super) events: Vec<Event>,
    pub(super) heartbeat: bool,
    /// The record as a value of expressions, once one was evaluated and until the record changes.
    pub(super) record: Option<Value>,
    /// Why the next stage starts.
    pub(super) led_by: Option<Because>,
}

impl<'d, 'c> Draft<'d, 'c> {
    pub(super) fn new(state: Submission, context: &'d mut Context<'c>) -> Self {
        Self { state, context, events: Vec::new(), heartbeat: false, record: None, led_by: None }
    }

    /// The draft of a new submission, of which this event made the state.
    pub(super) fn begin(state: Submission, event: Event, context: &'d mut Context<'c>) -> Self {
        Self { state, context, events: vec![event], heartbeat: false, record: None, led_by: None }
    }

    pub(super) fn emit(&mut self, kind: EventKind) {
        if matches!(kind, EventKind::RecordUpdated { .. }) {
            self.record = None;
        }
        let event = Event { at: self.context.now, kind };
        evolve(&mut self.state, &event);
        self.events.push(event);
    }

    pub(super) fn finish(self) -> Decided {
        Decided { state: self.state, events: self.events, heartbeat: self.heartbeat }
    }

    /// Starts a stage run with these steps.
    pub(super) fn begin_stage(&mut self, name: &str, ending: Option<Ending>, submission_round: u32, steps: &[Step]) {
        let round = 1 + self.state.stage_runs.iter().filter(|stage| stage.name == name).count();
        let steps = steps
            .iter()
            .map(|step| NewStepRun { step_run: StepRunId(self.context.ids.uuid()), step: step.name.clone() })
            .collect();
        let stage_run = StageRunId(self.context.ids.uuid());
        let awaits_time = super::conditions::reads_now(self.context.process, name, ending);
        let because = self.led_by.take();
        self.emit(EventKind::StageStarted {
            stage_run,
            stage: name.to_owned(),
            ending,
            round: u32::try_from(round).unwrap_or(u32::MAX),
            submission_round,
            awaits_time,
            steps,
            because,
        });
    }

    /// The stage run in progress or in error, and the definition of its steps.
    pub(super) fn current(&self) -> Option<(&StageRun, &'c [Step])> {
        let run = self.state.current_stage()?;
        let process = self.context.process;
        let steps = match run.ending {
            Some(ending) => process.path(ending),
            None => &process.stages.get(process.stage_index(&run.name)?)?.steps,
        };
        Some((run, steps))
    }

    /// The definition of a stage run; `None` for that of a rejection, recall or cancel path.
    pub(super) fn stage_definition(&self, run: &StageRun) -> Option<&'c Stage> {
        let process = self.context.process;
        match run.ending {
            Some(_) => None,
            None => process.stages.iter().find(|stage| stage.name == run.name),
        }
    }
}
