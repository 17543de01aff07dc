//! Starting a step: whom it asks, or what it runs.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Json,
    command::Actor,
    definition::{ApprovalStep, BackgroundStep, Execution, Flow, OnNoApprovers, Step, StepKind},
    event::EventKind,
    expression::Expression,
    id::{JobId, StageRunId, StepRunId, Token, WorkItemId},
    state::{Failure, FailureReason, JobExecution, JobKind, JobSpec, StepRun, Verdict, VersionRef},
    status::{StepRunStatus, WorkItemStatus},
};

use super::{
    assignees::{Asking, Found, Vetoes},
    authorize::{approval_step, separation},
    draft::Draft,
};

/// How large a flow's input may be as JSON, in bytes: a job has to fit into 256 KiB with all that surrounds its input.
const INPUT_BYTES_MAX: usize = 200 * 1024;

impl<'c> Draft<'_, 'c> {
    /// Starts a step whose entry condition holds.
    pub(super) fn start_step(&mut self, step_run: StepRunId, step: &Step) -> Result<(), Failure> {
        match &step.kind {
            StepKind::Approval(approval) => self.start_approval(step_run, &step.name, approval),
            StepKind::Background(background) => self.start_background(step_run, background),
        }
    }

    fn start_approval(&mut self, step_run: StepRunId, name: &str, step: &ApprovalStep) -> Result<(), Failure> {
        if self.keep_decisions(step_run, name) || self.reuse_approval(step_run, name) {
            return Ok(());
        }
        let separation = separation(self.context.process, name);
        let asking = Asking { name, step, separation: &separation };
        let mut resolution = self.resolve(asking, &step.assign)?;
        if let Err(failure) = resolution.check_enough(step.decision) {
            match &step.on_no_approvers {
                OnNoApprovers::Error => return Err(failure),
                OnNoApprovers::Reject => {
                    self.reject_unasked(step_run, &failure);
                    return Ok(());
                }
                OnNoApprovers::Fallback(rules) => {
                    resolution = self.resolve(asking, rules)?.in_place_of(resolution);
                    resolution.check_enough(step.decision)?;
                }
            }
        }
        let deadlines = self.deadlines(step)?;
        let screen = self.bind_screen(step.screen.as_ref())?;
        let because = self.entry_because(step_run);
        self.emit(EventKind::StepStarted { step_run, because, screen });
        if step.lock {
            self.emit(EventKind::RecordLocked { step_run, allow_reviewer_edit: step.allow_reviewer_edit });
        }
        let reasons = resolution.reasons_left_out();
        if !reasons.is_empty() {
            self.emit(EventKind::AssigneesLeftOut { step_run, reasons });
        }
        self.emit_deadlines(step_run, deadlines);
        let vetoes = Vetoes::of(&step.veto_by, self.context.directory);
        for Found { assignee, reason, weight } in resolution.found {
            let work_item = WorkItemId(self.context.ids.uuid());
            let veto = vetoes.holds(&assignee);
            self.emit(EventKind::WorkItemAssigned { work_item, step_run, assignee, reason, weight, veto });
        }
        Ok(())
    }

    /// Nobody can be asked, and the process says that this is a rejection.
    fn reject_unasked(&mut self, step_run: StepRunId, failure: &Failure) {
        let because = self.entry_because(step_run);
        self.emit(EventKind::StepStarted { step_run, because, screen: None });
        let outputs = serde_json::json!({ "decision": Verdict::Reject.as_str(), "comments": failure.message });
        let settled = Some(Verdict::Reject);
        self.emit(EventKind::StepCompleted {
            step_run,
            outputs: Arc::new(outputs),
            settled,
            reused: None,
            because: None,
        });
        self.reject(step_run);
    }

    fn start_background(&mut self, step_run: StepRunId, step: &BackgroundStep) -> Result<(), Failure> {
        let (version, flow, input) = self.flow_to_run(&step.flow, &step.input)?;
        let execution = match step.execution {
            Execution::Sync => JobExecution::Sync(step.sync_timeout),
            Execution::Auto if !flow.waits => JobExecution::Sync(step.sync_timeout),
            Execution::Auto | Execution::Async => JobExecution::Async,
        };
        let spec = JobSpec {
            kind: JobKind::Autolaunched,
            flow: version,
            task_queue: flow.task_queue.clone(),
            input,
            execution,
            retry: step.retry.clone(),
            traceparent: self.state.traceparent.clone(),
        };
        let job = JobId(self.context.ids.uuid());
        let token = Token::new(self.state.id, self.context.ids.secret());
        let because = self.entry_because(step_run);
        self.emit(EventKind::StepStarted { step_run, because, screen: None });
        self.emit(EventKind::JobScheduled { job, step_run, spec: Arc::new(spec), token });
        Ok(())
    }

    /// The version of a flow that is active now, and its input, which meets the flow's schema.
    pub(super) fn flow_to_run(
        &mut self,
        name: &str,
        input: &BTreeMap<String, Expression>,
    ) -> Result<(VersionRef, &'c Flow, Json), Failure> {
        let flows = self.context.flows;
        let Some((version, flow)) = flows.active(name) else {
            let message = format!("flow `{name}` has no active version");
            return Err(Failure { reason: FailureReason::FlowNotActive, message });
        };
        let input = self.input(input)?;
        let violations = flow.input.as_ref().map(|schema| schema.violations(&input)).unwrap_or_default();
        if !violations.is_empty() {
            let violations: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.path, v.message)).collect();
            let message = format!("the input of flow `{name}` does not meet its schema: {}", violations.join("; "));
            return Err(Failure { reason: FailureReason::InputInvalid, message });
        }
        Ok((version, flow, input))
    }

    fn input(&mut self, fields: &BTreeMap<String, Expression>) -> Result<Json, Failure> {
        let mut input = serde_json::Map::new();
        for (name, expression) in fields {
            let value = self.evaluate(expression)?;
            let json = value.to_json().map_err(|error| Failure {
                reason: FailureReason::InputInvalid,
                message: format!("input `{name}` = `{}`: {error}", expression.source()),
            })?;
            input.insert(name.clone(), json);
        }
        let input = Json::Object(input);
        let bytes = input.to_string().len();
        if bytes > INPUT_BYTES_MAX {
            let message = format!("the input is {bytes} bytes long: at most {INPUT_BYTES_MAX} are allowed");
            return Err(Failure { reason: FailureReason::InputInvalid, message });
        }
        Ok(input)
    }

    /// Brings back a stage that an error had ended, and with it the steps that the error discontinued; not the one that failed,
    /// which is up to the caller.
    pub(super) fn revive_stage(&mut self, stage_run: StageRunId, failed: Option<StepRunId>, by: &Actor) {
        let stage = self.state.stage_runs.iter().find(|stage| stage.id == stage_run);
        let steps = stage.into_iter().flat_map(|stage| &stage.steps);
        // A step may have failed beside that one, while the submission was suspended: it gets a new attempt too.
        let stopped = |step: &&StepRun| {
            matches!(step.status, StepRunStatus::Discontinued | StepRunStatus::Error) && Some(step.id) != failed
        };
        let stopped: Vec<_> = steps.filter(stopped).map(|step| step.id).collect();
        self.emit(EventKind::StageRevived { stage_run, by: by.name.clone() });
        for step_run in stopped {
            self.revive_step(step_run);
        }
    }

    /// Brings back a step that an error had ended or discontinued.
    pub(super) fn revive_step(&mut self, step_run: StepRunId) {
        let screen = self.rebind_screen(step_run);
        self.emit(EventKind::StepRevived { step_run, screen });
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let job = run.job.as_ref().filter(|job| !job.is_live()).map(|job| (job.id, job.attempt + 1));
        let errored = run.work_items.iter().filter(|item| item.status == WorkItemStatus::Errored);
        let errored: Vec<_> = errored.map(|item| item.id).collect();
        if let Some((job, attempt)) = job {
            let token = Token::new(self.state.id, self.context.ids.secret());
            self.emit(EventKind::JobRevived { job, attempt, token });
        }
        let asks = !errored.is_empty();
        for work_item in errored {
            self.emit(EventKind::WorkItemRevived { work_item });
        }
        // The time that it stood in error was nobody's: its moments are counted from now.
        let name = self.state.step_run(step_run).map(|(_, run)| run.name.clone()).unwrap_or_default();
        if let (true, Some(step)) = (asks, approval_step(self.context.process, &name)) {
            self.reset_deadlines_of(step_run, step);
        }
    }
}

/// What an approval step returns once it is completed.
pub(super) fn approval_outputs(run: &StepRun, settled: Option<Verdict>) -> Json {
    let decisions = run.work_items.iter().filter_map(|item| Some((item.closed_at, item.decision.as_ref()?)));
    // Who abstained has nothing to say of the outcome, unless nobody has said anything else.
    let last = decisions.max_by_key(|(at, decision)| (decision.verdict != Verdict::Abstain, *at));
    let last = last.map(|(_, decision)| decision);
    // Where it was overridden, that is the decision.
    let last = run.overridden.as_ref().map(|overridden| &overridden.decision).or(last);
    let mut outputs = serde_json::json!({
        "decision": settled.map(Verdict::as_str),
        "comments": last.map_or("", |decision| decision.comment.as_str()),
        "reviewer": last.map(|decision| decision.actor.as_str()),
    });
    // What was filled in has none of these names: a flow that asks for one of them is not published.
    if let (Some(outputs), Some(values)) = (outputs.as_object_mut(), last.and_then(|last| last.values.as_deref())) {
        let values = values.as_object().into_iter().flatten();
        outputs.extend(values.map(|(name, value)| (name.clone(), value.clone())));
    }
    outputs
}
