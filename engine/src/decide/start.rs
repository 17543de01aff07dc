//! Starting a step: whom it asks, or what it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{
    Json,
    definition::{ApprovalStep, AssignRule, BackgroundStep, Execution, OnNoApprovers, Quorum, Step, StepKind},
    event::EventKind,
    expression::Value,
    id::{JobId, StepRunId, Token, WorkItemId},
    state::{Assignee, Failure, FailureReason, JobExecution, JobKind, JobSpec, StepRun, Verdict},
    status::WorkItemStatus,
};

use super::{
    authorize::{Separation, barred, separation},
    draft::Draft,
};

/// How large a flow's input may be as JSON, in bytes: a job has to fit into 256 KiB with all that surrounds its input.
const INPUT_BYTES_MAX: usize = 200 * 1024;

/// How many people one step may ask.
const ASKED_MAX: usize = 1_000;

/// Whom an assignment rule comes to, and what stands against those who were left out.
#[derive(Default)]
struct Resolution {
    /// In the order of the rules; each assignee once.
    found: Vec<(Assignee, String)>,
    left_out: Vec<String>,
}

/// An approval step that looks for people.
#[derive(Clone, Copy)]
struct Asking<'p> {
    step: &'p ApprovalStep,
    separation: &'p Separation<'p>,
}

impl Draft<'_, '_> {
    /// Starts a step whose entry condition holds.
    pub(super) fn start_step(&mut self, step_run: StepRunId, step: &Step) -> Result<(), Failure> {
        match &step.kind {
            StepKind::Approval(approval) => self.start_approval(step_run, &step.name, approval),
            StepKind::Background(background) => self.start_background(step_run, background),
        }
    }

    fn start_approval(&mut self, step_run: StepRunId, name: &str, step: &ApprovalStep) -> Result<(), Failure> {
        let separation = separation(self.context.process, name);
        let asking = Asking { step, separation: &separation };
        let mut resolution = self.resolve(asking, &step.assign)?;
        if let Err(failure) = enough(step, &resolution) {
            match &step.on_no_approvers {
                OnNoApprovers::Error => return Err(failure),
                OnNoApprovers::Reject => {
                    self.reject_unasked(step_run, &failure);
                    return Ok(());
                }
                OnNoApprovers::Fallback(rules) => {
                    resolution = self.resolve(asking, rules)?;
                    enough(step, &resolution)?;
                }
            }
        }
        self.emit(EventKind::StepStarted { step_run });
        for (assignee, reason) in resolution.found {
            let work_item = WorkItemId(self.context.ids.uuid());
            self.emit(EventKind::WorkItemAssigned { work_item, step_run, assignee, reason });
        }
        Ok(())
    }

    /// Nobody can be asked, and the process says that this is a rejection.
    fn reject_unasked(&mut self, step_run: StepRunId, failure: &Failure) {
        self.emit(EventKind::StepStarted { step_run });
        let outputs = serde_json::json!({ "decision": Verdict::Reject.as_str(), "comments": failure.message });
        self.emit(EventKind::StepCompleted { step_run, outputs: Arc::new(outputs), settled: Some(Verdict::Reject) });
        self.reject(step_run);
    }

    fn resolve(&mut self, asking: Asking<'_>, rules: &[AssignRule]) -> Result<Resolution, Failure> {
        let mut resolution = Resolution::default();
        for rule in rules {
            match rule {
                AssignRule::User(name) => self.add_person(asking, name, format!("user {name}"), &mut resolution),
                AssignRule::ManagerOf { user, levels } => self.add_manager(asking, user, *levels, &mut resolution)?,
                AssignRule::Group(name) => {
                    let members = self.context.directory.members_of_group(name).map(owned);
                    self.add_members(asking, Assignee::Group(name.clone()), members, &mut resolution);
                }
                AssignRule::Queue(name) => {
                    let members = self.context.directory.members_of_queue(name).map(owned);
                    self.add_members(asking, Assignee::Queue(name.clone()), members, &mut resolution);
                }
            }
        }
        // Nobody is left out in silence: whoever is not asked would not be counted either.
        if resolution.found.len() > ASKED_MAX {
            let message = format!("{} would be asked: at most {ASKED_MAX} can be", resolution.found.len());
            return Err(Failure { reason: FailureReason::NoApprovers, message });
        }
        Ok(resolution)
    }

    fn add_manager(
        &mut self,
        asking: Asking<'_>,
        user: &crate::expression::Expression,
        levels: u32,
        resolution: &mut Resolution,
    ) -> Result<(), Failure> {
        let Value::String(name) = self.evaluate(user)? else {
            let message = format!("`manager_of: {}` does not give the name of a user", user.source());
            return Err(Failure { reason: FailureReason::NoApprovers, message });
        };
        match self.context.directory.manager_of(&name, levels) {
            Ok(manager) => {
                let reason = format!("manager_of {} = {name}, {levels} up: {manager}", user.source());
                self.add_person(asking, manager.as_str(), reason, resolution);
            }
            Err(reason) => resolution.left_out.push(reason),
        }
        Ok(())
    }

    fn add_person(&self, asking: Asking<'_>, name: &str, reason: String, resolution: &mut Resolution) {
        match self.unfit(asking, name) {
            Some(why) => resolution.left_out.push(why),
            None => add(resolution, Assignee::User(name.to_owned()), reason),
        }
    }

    /// A group or a queue: one work item for all of it, or, where people are counted, one for each of its members.
    fn add_members(
        &self,
        asking: Asking<'_>,
        assignee: Assignee,
        members: Option<BTreeSet<String>>,
        resolution: &mut Resolution,
    ) {
        let Some(members) = members else {
            resolution.left_out.push(format!("there is no {} `{}`", assignee.kind(), assignee.name()));
            return;
        };
        let reason = format!("{} {}", assignee.kind(), assignee.name());
        if asking.step.decision.counts_people() {
            for member in &members {
                self.add_person(asking, member, format!("{reason}: member {member}"), resolution);
            }
        } else if members.iter().any(|member| self.unfit(asking, member).is_none()) {
            add(resolution, assignee, reason);
        } else {
            resolution.left_out.push(format!("{reason} has no member who is active and may decide"));
        }
    }

    /// What stands against asking a person.
    fn unfit(&self, asking: Asking<'_>, name: &str) -> Option<String> {
        match self.context.directory.users.get(name) {
            None => Some(format!("there is no user `{name}`")),
            Some(user) if !user.active => Some(format!("user `{name}` is not active")),
            Some(_) => barred(&self.state, asking.separation, name).map(|why| format!("user `{name}` may not: {why}")),
        }
    }

    fn start_background(&mut self, step_run: StepRunId, step: &BackgroundStep) -> Result<(), Failure> {
        let flows = self.context.flows;
        let Some((version, flow)) = flows.active(&step.flow) else {
            let message = format!("flow `{}` has no active version", step.flow);
            return Err(Failure { reason: FailureReason::FlowNotActive, message });
        };
        let input = self.input(&step.input)?;
        let violations = flow.input.as_ref().map(|schema| schema.violations(&input)).unwrap_or_default();
        if !violations.is_empty() {
            let violations: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.path, v.message)).collect();
            let message =
                format!("the input of flow `{}` does not meet its schema: {}", step.flow, violations.join("; "));
            return Err(Failure { reason: FailureReason::InputInvalid, message });
        }
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
        };
        let job = JobId(self.context.ids.uuid());
        let token = Token::new(self.state.id, self.context.ids.secret());
        self.emit(EventKind::StepStarted { step_run });
        self.emit(EventKind::JobScheduled { job, step_run, spec: Arc::new(spec), token });
        Ok(())
    }

    fn input(&mut self, fields: &BTreeMap<String, crate::expression::Expression>) -> Result<Json, Failure> {
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

    /// Brings back a step that an error had ended or discontinued.
    pub(super) fn revive_step(&mut self, step_run: StepRunId) {
        self.emit(EventKind::StepRevived { step_run });
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let job = run.job.as_ref().filter(|job| !job.is_live()).map(|job| (job.id, job.attempt + 1));
        let errored = run.work_items.iter().filter(|item| item.status == WorkItemStatus::Errored);
        let errored: Vec<_> = errored.map(|item| item.id).collect();
        if let Some((job, attempt)) = job {
            let token = Token::new(self.state.id, self.context.ids.secret());
            self.emit(EventKind::JobRevived { job, attempt, token });
        }
        for work_item in errored {
            self.emit(EventKind::WorkItemRevived { work_item });
        }
    }
}

/// What an approval step returns once it is completed.
pub(super) fn approval_outputs(run: &StepRun, settled: Option<Verdict>) -> Json {
    let decisions = run.work_items.iter().filter_map(|item| Some((item.closed_at, item.decision.as_ref()?)));
    let last = decisions.max_by_key(|(at, _)| *at).map(|(_, decision)| decision);
    serde_json::json!({
        "decision": settled.map(Verdict::as_str),
        "comments": last.map_or("", |decision| decision.comment.as_str()),
        "reviewer": last.map(|decision| decision.actor.as_str()),
    })
}

fn add(resolution: &mut Resolution, assignee: Assignee, reason: String) {
    if resolution.found.iter().all(|(found, _)| *found != assignee) {
        resolution.found.push((assignee, reason));
    }
}

/// Whether those found can settle the step at all.
fn enough(step: &ApprovalStep, resolution: &Resolution) -> Result<(), Failure> {
    let found = u32::try_from(resolution.found.len()).unwrap_or(u32::MAX);
    let needed = match step.decision.approve {
        Quorum::AtLeast(count) => count,
        Quorum::Any | Quorum::All | Quorum::Percent(_) => 1,
    };
    if found >= needed {
        return Ok(());
    }
    let why =
        if resolution.left_out.is_empty() { String::new() } else { format!(": {}", resolution.left_out.join("; ")) };
    let message = format!("{found} of the {needed} people that it takes can be asked{why}");
    Err(Failure { reason: FailureReason::NoApprovers, message })
}

fn owned(names: BTreeSet<&str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}
