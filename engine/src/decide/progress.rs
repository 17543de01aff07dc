//! Progress: what follows by itself, until nothing changes (DESIGN 2.2), and how stages and submissions end (2.3, 2.4).

use std::sync::Arc;

use crate::{
    decision_rule::Votes,
    definition::{ApprovalStep, OnRejection, Outcome, StageExit, Step, StepExit, StepKind, StepStart, Target},
    event::{Because, EventKind},
    id::{StageRunId, StepRunId},
    state::{Condition, Ending, Evaluation, Failure, FailureReason, StageRun, StepRun, Verdict},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
};

use super::{
    EVENTS_MAX, ROUNDS_MAX, VISITS_MAX, because,
    conditions::{entry_condition, entry_evaluation, exit_condition, exit_evaluation, is_asked_again, is_awaited},
    draft::Draft,
    open_items, start,
};

/// What one look at the current stage came to.
enum Pass {
    /// Something changed: look again.
    Changed,
    /// Nothing did.
    Settled,
}

impl Draft<'_, '_> {
    /// Runs until nothing changes. Each turn either ends a stage, starts or completes a step, or is the last; how often a stage
    /// is reached is bounded, so this ends.
    pub(super) fn progress(&mut self) {
        loop {
            match self.pass() {
                Pass::Changed => {}
                // Flows are asked about conditions once all else is done, so that they are asked about how things stand then.
                Pass::Settled if self.ask_evaluations() => {}
                Pass::Settled if self.end_if_stalled() => {}
                Pass::Settled => return,
            }
        }
    }

    /// Completes what a decision has settled, before anything else is looked at: whoever was told that their decision is
    /// accepted must not find that the stage had ended without it, as an exit condition that reads `now` would have it. It is
    /// with a decision as with a flow's result, which completes its step as it is stored (DESIGN 2.2, 1).
    pub(super) fn progress_from_decision(&mut self) {
        if let Some((_, steps)) = self.current() {
            self.complete_steps(steps);
        }
        self.progress();
    }

    fn pass(&mut self) -> Pass {
        if self.state.status != SubmissionStatus::InProgress {
            return Pass::Settled;
        }
        let Some((stage, steps)) = self.current() else { return Pass::Settled };
        if stage.status != StageRunStatus::InProgress {
            return Pass::Settled;
        }
        let stage_run = stage.id;
        match self.stage_is_done() {
            Ok(true) => {
                self.complete_stage();
                return Pass::Changed;
            }
            Ok(false) => {}
            Err(failure) => {
                self.fail_stage(failure);
                return Pass::Changed;
            }
        }
        let mut changed = self.start_steps(stage_run, steps);
        if self.is_under_way(stage_run) {
            changed |= self.complete_steps(steps);
        }
        if changed { Pass::Changed } else { Pass::Settled }
    }

    /// Whether this is the stage in progress. Starting a step may end its stage: by an error, or by a rejection where nobody can
    /// be asked.
    fn is_under_way(&self, stage_run: StageRunId) -> bool {
        self.state.status == SubmissionStatus::InProgress
            && self
                .state
                .current_stage()
                .is_some_and(|stage| stage.id == stage_run && stage.status == StageRunStatus::InProgress)
    }

    /// Whether the current stage's exit condition holds.
    fn stage_is_done(&mut self) -> Result<bool, Failure> {
        let Some((run, steps)) = self.current() else { return Ok(false) };
        match self.stage_definition(run).map(|stage| &stage.exit) {
            Some(StageExit::When(condition)) => self.holds(condition),
            Some(StageExit::Evaluation(_)) => Ok(self.is_met(Condition::StageExit(run.id))),
            // Those that the stage has now: in the version that it began with it may have had others, which did not start.
            Some(StageExit::AllCompleted) | None => Ok(steps
                .iter()
                .all(|step| run.step(&step.name).is_some_and(|run| run.status == StepRunStatus::Completed))),
        }
    }

    /// Starts each step whose entry condition holds, in written order. Answers whether anything changed.
    fn start_steps(&mut self, stage_run: StageRunId, steps: &[Step]) -> bool {
        let mut changed = false;
        for step in steps {
            let Some((stage, _)) = self.current() else { return changed };
            let Some(run) = stage.step(&step.name).filter(|run| run.status == StepRunStatus::NotStarted) else {
                continue;
            };
            let step_run = run.id;
            let enters = match &step.start {
                StepStart::StageStarts => Ok(true),
                StepStart::After(names) => Ok(names
                    .iter()
                    .all(|name| stage.step(name).is_some_and(|before| before.status == StepRunStatus::Completed))),
                StepStart::When(condition) => self.holds(condition),
                StepStart::Evaluation(_) => Ok(self.is_met(Condition::StepEntry(step_run))),
            };
            let started = match enters {
                Ok(false) => continue,
                Ok(true) => self.start_step(step_run, step),
                Err(failure) => Err(failure),
            };
            changed = true;
            if let Err(failure) = started {
                self.fail_step(step_run, failure);
            }
            if !self.is_under_way(stage_run) {
                return true;
            }
        }
        changed
    }

    /// Completes each approval step in progress whose exit condition holds, in written order. Answers whether anything changed.
    fn complete_steps(&mut self, steps: &[Step]) -> bool {
        let mut changed = false;
        for step in steps {
            let StepKind::Approval(approval) = &step.kind else { continue };
            let Some((stage, _)) = self.current() else { return changed };
            let Some(run) = stage.step(&step.name).filter(|run| run.status == StepRunStatus::InProgress) else {
                continue;
            };
            let step_run = run.id;
            let settled = settled(run, approval);
            // An override ends its step whatever its exit condition says.
            let overridden = run.overridden.is_some();
            if settled.is_some() {
                changed |= self.close_items(step_run, WorkItemStatus::Withdrawn);
            }
            let exits = match &approval.exit {
                StepExit::When(condition) if !overridden => self.holds(condition),
                StepExit::Evaluation(_) if !overridden => Ok(self.is_met(Condition::StepExit(step_run))),
                StepExit::Settled | StepExit::When(_) | StepExit::Evaluation(_) => Ok(settled.is_some()),
            };
            match exits {
                Ok(false) => {}
                Ok(true) => {
                    changed = true;
                    self.close_items(step_run, WorkItemStatus::Withdrawn);
                    self.complete_approval(step_run, approval, settled);
                    if settled == Some(Verdict::Reject) && self.reject(step_run) {
                        return true;
                    }
                }
                Err(failure) => {
                    self.fail_step(step_run, failure);
                    return true;
                }
            }
        }
        changed
    }

    fn complete_approval(&mut self, step_run: StepRunId, step: &ApprovalStep, settled: Option<Verdict>) {
        self.stop_evaluations_of(step_run);
        let Some(run) = self.state.step_run(step_run).map(|(_, run)| run.clone()) else { return };
        let outputs = Arc::new(start::approval_outputs(&run, settled));
        let because = self.exit_because(&run, step);
        self.emit(EventKind::StepCompleted { step_run, outputs, settled, reused: None, because: Some(because) });
    }

    /// What the process says of a rejection. Answers whether the stage is over by it.
    pub(super) fn reject(&mut self, step_run: StepRunId) -> bool {
        match self.context.process.on_rejection {
            OnRejection::Continue => false,
            OnRejection::End => {
                self.close_stage(Some(self.rejection_because("end", step_run)));
                self.emit(EventKind::RejectionDecided { step_run: Some(step_run) });
                self.run_ending(Ending::Rejected);
                true
            }
            OnRejection::Stage(index) => {
                let from = self.current_index();
                let to = self.context.process.stages.get(index).map_or("", |stage| stage.name.as_str());
                let because = self.rejection_because(&format!("to {to}"), step_run);
                self.close_stage(Some(because.clone()));
                self.led_by = Some(because);
                self.go_to(from, index);
                true
            }
        }
    }

    fn rejection_because(&self, what: &str, step_run: StepRunId) -> Because {
        let name = self.state.step_run(step_run).map_or("", |(_, run)| run.name.as_str());
        because::rule(&format!("on_rejection: {what}, as `{name}` was rejected"))
    }

    /// Completes the current stage and goes on to what comes next.
    fn complete_stage(&mut self) {
        let Some((run, _)) = self.current() else { return };
        if let Some(ending) = run.ending {
            self.close_stage(None);
            self.emit(EventKind::SubmissionEnded { status: ending.status() });
            return;
        }
        let from = self.current_index();
        let definition = self.stage_definition(run);
        let is_fault_path = definition.is_some_and(|stage| stage.fault_path);
        let because = definition.and_then(|stage| self.stage_exit_because(&stage.exit));
        // Routing is worked out before the stage is closed: a rule that cannot be evaluated is the stage's own error.
        match self.next_target(from) {
            Ok(target) => {
                self.close_stage(because);
                match target {
                    Target::Stage(index) => self.go_to(from, index),
                    // A fault path never approves by silence (DESIGN 2.3): it is published only with its outcome stated, and
                    // does not depend on that here.
                    Target::End(None) if is_fault_path => self.end(Some(Outcome::Error)),
                    Target::End(outcome) => self.end(outcome),
                }
            }
            Err(failure) => self.fail_stage(failure),
        }
    }

    pub(super) fn current_index(&self) -> Option<usize> {
        let (run, _) = self.current()?;
        self.context.process.stage_index(&run.name)
    }

    fn next_target(&mut self, from: Option<usize>) -> Result<Target, Failure> {
        let process = self.context.process;
        let routes = from.and_then(|index| process.stages.get(index)).map_or(&[][..], |stage| &stage.next);
        for route in routes {
            let taken = match &route.when {
                None => true,
                Some(condition) => self.holds(condition)?,
            };
            if taken {
                let stage = from.and_then(|index| process.stages.get(index)).map_or("", |stage| stage.name.as_str());
                self.led_by = Some(self.route_because(stage, route));
                return Ok(route.to.clone());
            }
        }
        Ok(Target::End(None))
    }

    /// Closes the current stage as completed: what is in progress is discontinued, and open work items are withdrawn.
    fn close_stage(&mut self, because: Option<Because>) {
        let Some((run, _)) = self.current() else { return };
        let stage_run = run.id;
        for step_run in steps_in_progress(run) {
            self.stop_step(step_run, WorkItemStatus::Withdrawn);
            self.emit(EventKind::StepDiscontinued { step_run });
        }
        self.stop_evaluations(stage_run);
        self.emit(EventKind::StageCompleted { stage_run, because });
    }

    /// Leaves the current stage before it has completed, and starts this one as another round; it may be the same.
    pub(super) fn go_back_to(&mut self, index: usize) {
        self.leave_stage();
        self.start_stage_in_round(index, self.state.round + 1);
    }

    /// Closes the current stage, if there is one, as canceled.
    pub(super) fn cancel_stage(&mut self, items: WorkItemStatus) {
        let Some((run, _)) = self.current() else { return };
        if !is_open(run) {
            return;
        }
        let stage_run = run.id;
        for step_run in steps_in_progress(run) {
            self.stop_step(step_run, items);
            self.emit(EventKind::StepCanceled { step_run });
        }
        self.stop_evaluations(stage_run);
        self.emit(EventKind::StageCanceled { stage_run });
    }

    /// Closes the current stage, if there is one that has not ended, as left before its end.
    pub(super) fn leave_stage(&mut self) {
        let Some(run) = self.state.current_stage().filter(|run| is_open(run)) else { return };
        let stage_run = run.id;
        for step_run in steps_in_progress(run) {
            self.stop_step(step_run, WorkItemStatus::Withdrawn);
            self.emit(EventKind::StepDiscontinued { step_run });
        }
        self.stop_evaluations(stage_run);
        self.emit(EventKind::StageDiscontinued { stage_run });
    }

    fn go_to(&mut self, from: Option<usize>, index: usize) {
        let back = from.is_some_and(|from| index <= from);
        let round = self.state.round + u32::from(back);
        if round > ROUNDS_MAX {
            self.exceed_rounds(format!("routing went back more than {ROUNDS_MAX} times"));
            return;
        }
        if back && self.state.version >= EVENTS_MAX {
            self.exceed_rounds(format!("the submission's history is full: it has {EVENTS_MAX} events"));
            return;
        }
        self.start_stage_in_round(index, round);
    }

    fn exceed_rounds(&mut self, message: String) {
        let failure = Failure { reason: FailureReason::RoundsExceeded, message };
        self.emit(EventKind::SubmissionFailed { failure });
    }

    /// Starts the stage with this index.
    pub(super) fn start_stage(&mut self, index: usize) {
        self.start_stage_in_round(index, self.state.round);
    }

    pub(super) fn start_stage_in_round(&mut self, index: usize, round: u32) {
        let process = self.context.process;
        let Some(stage) = process.stages.get(index) else { return };
        // An error leads to its fault path without a round, and a fault path may lead forwards to where the error was: what
        // bounds such a circle is how often a stage is visited.
        if self.visits(&stage.name) >= VISITS_MAX {
            self.exceed_rounds(format!("stage `{}` was reached more than {VISITS_MAX} times", stage.name));
        } else {
            self.begin_stage(&stage.name, None, round, &stage.steps);
        }
    }

    /// How often a stage has been reached.
    pub(super) fn visits(&self, stage: &str) -> usize {
        self.state.stage_runs.iter().filter(|run| run.ending.is_none() && run.name == stage).count()
    }

    /// Routing has come to the end.
    fn end(&mut self, outcome: Option<Outcome>) {
        let rejected = || self.is_rejected();
        match outcome {
            Some(Outcome::Error) => {
                let failed = self.state.stage_runs.iter().filter(|stage| stage.failure.is_some());
                let latest = failed.max_by_key(|stage| stage.ended_at).and_then(|stage| stage.failure.clone());
                let failure = latest.unwrap_or_else(|| Failure {
                    reason: FailureReason::FaultPath,
                    message: "the process ended with the outcome ERROR".to_owned(),
                });
                self.emit(EventKind::SubmissionFailed { failure });
            }
            Some(Outcome::Approved) => self.emit(EventKind::SubmissionEnded { status: SubmissionStatus::Approved }),
            None if !rejected() => self.emit(EventKind::SubmissionEnded { status: SubmissionStatus::Approved }),
            Some(Outcome::Rejected) | None => {
                self.emit(EventKind::RejectionDecided { step_run: None });
                self.run_ending(Ending::Rejected);
            }
        }
    }

    /// Whether the latest run of an approval step was rejected. A step whose people had settled on it counts also when its stage
    /// ended before the step's own exit condition held: nothing is approved over a rejection by an early exit.
    fn is_rejected(&self) -> bool {
        let latest = self.state.latest_steps();
        let mut steps = self.context.process.stages.iter().flat_map(|stage| &stage.steps);
        steps.any(|step| match (&step.kind, latest.get(step.name.as_str())) {
            // A step that expired is settled without its people.
            (_, Some(run)) if run.settled == Some(Verdict::Reject) => true,
            (StepKind::Approval(approval), Some(run)) if !run.work_items.is_empty() => {
                settled(run, approval) == Some(Verdict::Reject)
            }
            (_, Some(_) | None) => false,
        })
    }

    /// Runs the path that leads to an ending, if the process has one, or ends at once.
    pub(super) fn run_ending(&mut self, ending: Ending) {
        let process = self.context.process;
        let path = process.path(ending);
        if path.is_empty() {
            self.emit(EventKind::SubmissionEnded { status: ending.status() });
        } else {
            self.begin_stage(ending.stage_name(), Some(ending), self.state.round, path);
            self.progress();
        }
    }

    /// A step meets an error, and its stage with it; that of a suspended submission once it is resumed.
    pub(super) fn fail_step(&mut self, step_run: StepRunId, failure: Failure) {
        self.stop_step(step_run, WorkItemStatus::Errored);
        self.emit(EventKind::StepFailed { step_run, failure });
        if self.state.status == SubmissionStatus::InProgress {
            self.fail_stage_of_step(step_run);
        }
    }

    /// What the error of a step means for its stage.
    pub(super) fn fail_stage_of_step(&mut self, step_run: StepRunId) {
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let Some(failure) = &run.failure else { return };
        let message = format!("step `{}`: {}", run.name, failure.message);
        self.fail_stage(Failure { reason: failure.reason, message });
    }

    /// The current stage meets an error: its fault path, or else the submission is in error.
    pub(super) fn fail_stage(&mut self, failure: Failure) {
        let Some((run, _)) = self.current() else { return };
        let (stage_run, name) = (run.id, run.name.clone());
        let fault_stage = self
            .stage_definition(run)
            .and_then(|stage| stage.on_error.as_deref())
            .and_then(|name| self.context.process.stage_index(name));
        for step_run in steps_in_progress(run) {
            self.stop_step(step_run, WorkItemStatus::Errored);
            self.emit(EventKind::StepDiscontinued { step_run });
        }
        self.stop_evaluations(stage_run);
        self.emit(EventKind::StageFailed { stage_run, failure: failure.clone() });
        match fault_stage {
            Some(index) => {
                self.led_by = Some(because::rule(&format!("on_error of `{name}`")));
                self.start_stage(index);
            }
            None => self.emit(EventKind::SubmissionFailed { failure }),
        }
    }

    /// Ends what a step in progress has open: its jobs, and its work items.
    fn stop_step(&mut self, step_run: StepRunId, items: WorkItemStatus) {
        let job = self.state.step_run(step_run).and_then(|(_, run)| run.job.as_ref()).filter(|job| job.is_live());
        if let Some(job) = job.map(|job| job.id) {
            self.emit(EventKind::JobCanceled { job });
        }
        self.stop_evaluations_of(step_run);
        self.close_items(step_run, items);
    }

    /// Closes the open work items of a step run. Answers whether there were any.
    pub(super) fn close_items(&mut self, step_run: StepRunId, status: WorkItemStatus) -> bool {
        let open = self.state.step_run(step_run).map(|(_, run)| open_items(run)).unwrap_or_default();
        for work_item in &open {
            self.emit(EventKind::WorkItemClosed { work_item: *work_item, status });
        }
        !open.is_empty()
    }

    /// A stage that can never end is in error (DESIGN 2.2, "Stall"). Answers whether it was one.
    fn end_if_stalled(&mut self) -> bool {
        if self.state.status != SubmissionStatus::InProgress {
            return false;
        }
        let Some((run, steps)) = self.current() else { return false };
        if run.status != StageRunStatus::InProgress || self.is_anything_awaited(run, steps) {
            return false;
        }
        if run.ending.is_some() {
            // A path to an ending has no exit condition of its own, and nothing but itself to change what its conditions say:
            // steps whose turn does not come are not needed, and the ending is due.
            self.complete_stage();
            return true;
        }
        let waiting: Vec<_> =
            run.steps.iter().filter(|step| step.status.is_open()).map(|step| format!("`{}`", step.name)).collect();
        let message = format!(
            "stage `{}` can never end: nothing is in progress, nothing is awaited, and its exit condition does not hold \
             (not ended: {})",
            run.name,
            if waiting.is_empty() { "no step".to_owned() } else { waiting.join(", ") }
        );
        self.fail_stage(Failure { reason: FailureReason::Stalled, message });
        true
    }

    fn is_anything_awaited(&self, run: &StageRun, steps: &[Step]) -> bool {
        let exit = match self.stage_definition(run).map(|stage| &stage.exit) {
            Some(StageExit::When(condition)) => is_awaited(condition),
            Some(StageExit::Evaluation(flow)) => is_answer_awaited(run.exit.as_deref()) || is_asked_again(flow),
            Some(StageExit::AllCompleted) | None => false,
        };
        // An ending does not wait for what may never come.
        let is_path = run.ending.is_some();
        exit || !self.state.timers().is_empty()
            || steps.iter().filter_map(|step| Some((step, run.step(&step.name)?))).any(|(step, run)| match run.status {
                // An answer comes, one way or the other: an ending waits for that.
                StepRunStatus::NotStarted => {
                    is_answer_awaited(run.entry.as_deref())
                        || !is_path
                            && (entry_condition(step).is_some_and(is_awaited)
                                || entry_evaluation(step).is_some_and(is_asked_again))
                }
                StepRunStatus::InProgress => {
                    run.job.as_ref().is_some_and(crate::state::Job::is_live)
                        || !open_items(run).is_empty()
                        || exit_condition(step).is_some_and(is_awaited)
                        || is_answer_awaited(run.exit.as_deref())
                        || exit_evaluation(step).is_some_and(is_asked_again)
                }
                StepRunStatus::Completed
                | StepRunStatus::Discontinued
                | StepRunStatus::Canceled
                | StepRunStatus::Error => false,
            })
    }
}

/// Whether a stage run has not ended.
fn is_open(run: &StageRun) -> bool {
    match run.status {
        StageRunStatus::InProgress | StageRunStatus::Suspended => true,
        StageRunStatus::Completed | StageRunStatus::Discontinued | StageRunStatus::Canceled | StageRunStatus::Error => {
            false
        }
    }
}

/// How an approval step run is settled: by an override, or else by its votes; `None`: it is not yet.
pub(super) fn settled(run: &StepRun, step: &ApprovalStep) -> Option<Verdict> {
    let overridden = run.overridden.as_ref().map(|overridden| overridden.decision.verdict);
    overridden.or_else(|| step.decision.outcome(Votes::of(run)))
}

fn is_answer_awaited(evaluation: Option<&Evaluation>) -> bool {
    evaluation.is_some_and(Evaluation::is_awaited)
}

fn steps_in_progress(run: &StageRun) -> Vec<StepRunId> {
    let open = |step: &&StepRun| step.status == StepRunStatus::InProgress;
    run.steps.iter().filter(open).map(|step| step.id).collect()
}
