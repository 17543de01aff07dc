//! Conditions that a flow answers (DESIGN 2.2). A flow is asked when its condition is first looked at, and again after each
//! change of the submission once it has answered no. There is one question at a time for each condition: a change while it is
//! out makes the answer stale, whichever it is, and then it is asked once more. Each question takes a change, and changes come
//! from outside, so this ends.

use std::sync::Arc;

use crate::{
    definition::{EvaluationFlow, StageExit},
    event::EventKind,
    id::{JobId, StageRunId, StepRunId, Token},
    state::{Condition, Failure, JobExecution, JobKind, JobSpec},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus},
};

use super::{
    conditions::{entry_evaluation, exit_evaluation},
    draft::Draft,
};

impl<'c> Draft<'_, 'c> {
    /// Whether the flow that is asked about a condition has answered that it holds.
    pub(super) fn is_met(&self, condition: Condition) -> bool {
        self.state.evaluation(condition).is_some_and(|evaluation| evaluation.met == Some(true))
    }

    /// Asks about each condition of the current stage that has to be asked about now. Answers whether the stage has met an error
    /// by it.
    pub(super) fn ask_evaluations(&mut self) -> bool {
        for (condition, flow) in self.conditions_to_ask() {
            if let Err(failure) = self.ask(condition, flow) {
                self.fail_condition(condition, failure);
                return true;
            }
        }
        false
    }

    fn conditions_to_ask(&self) -> Vec<(Condition, &'c EvaluationFlow)> {
        let Some((run, steps)) = self.current() else { return Vec::new() };
        if self.state.status != SubmissionStatus::InProgress || run.status != StageRunStatus::InProgress {
            return Vec::new();
        }
        let exit = match self.stage_definition(run).map(|stage| &stage.exit) {
            Some(StageExit::Evaluation(flow)) => Some((Condition::StageExit(run.id), flow)),
            Some(StageExit::AllCompleted | StageExit::When(_)) | None => None,
        };
        let of_steps = steps.iter().filter_map(|step| {
            let run = run.step(&step.name)?;
            match run.status {
                StepRunStatus::NotStarted => Some((Condition::StepEntry(run.id), entry_evaluation(step)?)),
                StepRunStatus::InProgress => Some((Condition::StepExit(run.id), exit_evaluation(step)?)),
                StepRunStatus::Completed
                | StepRunStatus::Discontinued
                | StepRunStatus::Canceled
                | StepRunStatus::Error => None,
            }
        });
        exit.into_iter().chain(of_steps).filter(|(condition, _)| self.has_to_be_asked(*condition)).collect()
    }

    /// Whether a condition was never asked about, or was answered with no before something changed, or has no answer that counts.
    fn has_to_be_asked(&self, condition: Condition) -> bool {
        self.state.evaluation(condition).is_none_or(|evaluation| {
            !evaluation.is_awaited()
                && match evaluation.met {
                    None => true,
                    Some(met) => !met && evaluation.asked_on < self.state.changes,
                }
        })
    }

    fn ask(&mut self, condition: Condition, question: &EvaluationFlow) -> Result<(), Failure> {
        let (version, flow, input) = self.flow_to_run(&question.flow, &question.input)?;
        let spec = JobSpec {
            kind: JobKind::Evaluation,
            flow: version,
            task_queue: flow.task_queue.clone(),
            input,
            // A call waits for synchronous steps, never for a condition.
            execution: JobExecution::Async,
            retry: question.retry.clone(),
            traceparent: self.state.traceparent.clone(),
        };
        let job = JobId(self.context.ids.uuid());
        let token = Token::new(self.state.id, self.context.ids.secret());
        self.emit(EventKind::EvaluationScheduled { job, condition, spec: Arc::new(spec), token });
        Ok(())
    }

    /// A flow has answered.
    pub(super) fn complete_evaluation(&mut self, condition: Condition, job: JobId, attempt: u32, met: bool) {
        let asked_on = self.state.evaluation(condition).map(|evaluation| evaluation.asked_on);
        let stale = asked_on.is_some_and(|asked_on| asked_on < self.state.changes);
        self.emit(EventKind::EvaluationCompleted { job, condition, attempt, met, stale });
        self.progress();
    }

    /// A condition cannot be evaluated: what it is of meets an error (DESIGN 2.3).
    pub(super) fn fail_condition(&mut self, condition: Condition, failure: Failure) {
        match condition {
            Condition::StageExit(_) => self.fail_stage(failure),
            Condition::StepEntry(step_run) | Condition::StepExit(step_run) => self.fail_step(step_run, failure),
        }
    }

    /// No longer waits for the answers about a stage that has ended.
    pub(super) fn stop_evaluations(&mut self, stage_run: StageRunId) {
        self.cancel_evaluations(|stage, _| stage == stage_run);
    }

    /// No longer waits for the answers about a step that has ended.
    pub(super) fn stop_evaluations_of(&mut self, step_run: StepRunId) {
        self.cancel_evaluations(|_, step| step == Some(step_run));
    }

    fn cancel_evaluations(&mut self, of: impl Fn(StageRunId, Option<StepRunId>) -> bool) {
        let Some(current) = self.state.current_stage() else { return };
        let evaluations = current.jobs().filter(|placed| placed.condition.is_some() && placed.job.is_live());
        let out: Vec<_> = evaluations
            .filter(|placed| of(placed.stage.id, placed.step.map(|step| step.id)))
            .map(|placed| placed.job.id)
            .collect();
        for job in out {
            self.emit(EventKind::JobCanceled { job });
        }
    }
}
