//! Why something follows: the rule, and what it found when it was looked at. Kept in the event, since nothing else tells later what
//! a condition read at that moment.

use std::collections::BTreeMap;

use crate::{
    Json,
    context::Context,
    decision_rule::Votes,
    definition::{ApprovalStep, DecisionRule, Quorum, RejectRule, Route, StageExit, StepExit, StepStart, Target},
    event::Because,
    expression::Expression,
    id::StepRunId,
    state::{Condition, StepRun, Submission},
    status::StepRunStatus,
};

use super::draft::Draft;

/// How much of a rule is kept, in characters: most are a line, and the definition has the whole of it.
const RULE_CHARACTERS_MAX: usize = 500;

/// How many values are kept: more than a condition that people can follow reads.
const VALUES_MAX: usize = 20;

/// How much of one value is kept, as JSON in characters; of a longer one only the beginning, as a text.
const VALUE_CHARACTERS_MAX: usize = 200;

/// The steps that have not started in the stages that were reached: stage, step, and the entry condition with what it reads now.
pub fn unmet_conditions(state: &Submission, context: &mut Context<'_>) -> Vec<(String, String, Option<Because>)> {
    let mut draft = Draft::new(state.clone(), context);
    let process = draft.context.process;
    let mut unmet = Vec::new();
    for run in state.stage_runs.iter().filter(|run| run.ending.is_none()) {
        let Some(stage) = process.stages.iter().find(|stage| stage.name == run.name) else { continue };
        for step in &stage.steps {
            if run.step(&step.name).is_some_and(|step| step.status == StepRunStatus::NotStarted) {
                let because = draft.start_because(&step.start, &run.steps);
                unmet.push((stage.name.clone(), step.name.clone(), because));
            }
        }
    }
    unmet
}

impl Draft<'_, '_> {
    /// Why a step starts now; `None`: because its stage has.
    pub(super) fn entry_because(&mut self, step_run: StepRunId) -> Option<Because> {
        let (run, steps) = self.current()?;
        let name = &run.steps.iter().find(|step| step.id == step_run)?.name;
        let step = steps.iter().find(|step| step.name == *name)?;
        match &step.start {
            StepStart::After(names) => Some(after(names, &run.steps)),
            StepStart::Evaluation(flow) => Some(self.answered("start", &flow.flow, Condition::StepEntry(step_run))),
            start @ (StepStart::StageStarts | StepStart::When(_)) => self.start_because(start, &[]),
        }
    }

    fn start_because(&mut self, start: &StepStart, runs: &[StepRun]) -> Option<Because> {
        match start {
            StepStart::StageStarts => None,
            StepStart::After(names) => Some(after(names, runs)),
            StepStart::When(condition) => Some(self.because("start: when", condition)),
            StepStart::Evaluation(flow) => Some(evaluation("start", &flow.flow)),
        }
    }

    /// Why an approval step completes now.
    pub(super) fn exit_because(&mut self, run: &StepRun, approval: &ApprovalStep) -> Because {
        match &approval.exit {
            _ if run.overridden.is_some() => rule("an administrator has overridden it"),
            StepExit::When(condition) => self.because("complete: when", condition),
            StepExit::Evaluation(flow) => self.answered("complete", &flow.flow, Condition::StepExit(run.id)),
            StepExit::Settled => votes(run, approval),
        }
    }

    /// Why the current stage completes now by its exit condition; `None`: because all its steps have.
    pub(super) fn stage_exit_because(&mut self, exit: &StageExit) -> Option<Because> {
        match exit {
            StageExit::AllCompleted => None,
            StageExit::When(condition) => Some(self.because("complete: when", condition)),
            StageExit::Evaluation(flow) => {
                let stage_run = self.state.current_stage()?.id;
                Some(self.answered("complete", &flow.flow, Condition::StageExit(stage_run)))
            }
        }
    }

    /// What a flow has answered about a condition, and on which input.
    fn answered(&self, which: &str, flow: &str, condition: Condition) -> Because {
        let asked = self.state.evaluation(condition);
        let input = asked.and_then(|asked| asked.job.spec.input.as_object());
        let values = input.into_iter().flatten().take(VALUES_MAX);
        let values = values.map(|(name, value)| (format!("input.{name}"), bounded(value.clone()))).collect();
        Because { values, ..evaluation(which, flow) }
    }

    /// Why routing goes where it goes.
    pub(super) fn route_because(&mut self, stage: &str, route: &Route) -> Because {
        let to = match &route.to {
            Target::Stage(index) => self.context.process.stages.get(*index).map_or("", |stage| stage.name.as_str()),
            Target::End(_) => "end",
        };
        match &route.when {
            Some(condition) => self.because(&format!("next of `{stage}`: to {to} when"), condition),
            None => rule(&format!("next of `{stage}`: to {to}")),
        }
    }

    /// A condition, with the values of what it reads.
    fn because(&mut self, which: &str, condition: &Expression) -> Because {
        let variables = self.variables();
        let value = |path: &Vec<String>| {
            let value = variables.get(path)?.to_json().ok()?;
            Some((path.join("."), bounded(value)))
        };
        let values: BTreeMap<String, Json> = condition.paths().iter().filter_map(value).take(VALUES_MAX).collect();
        Because { values, ..rule(&format!("{which} {}", condition.source())) }
    }
}

/// A rule that reads nothing, or nothing that is worth telling.
pub(super) fn rule(text: &str) -> Because {
    Because { rule: text.chars().take(RULE_CHARACTERS_MAX).collect(), values: BTreeMap::new() }
}

fn evaluation(which: &str, flow: &str) -> Because {
    rule(&format!("{which}: evaluation {flow}"))
}

fn after(names: &[String], runs: &[StepRun]) -> Because {
    let status = |name: &String| {
        let run = runs.iter().find(|run| run.name == *name)?;
        Some((format!("steps.{name}.status"), run.status.as_str().into()))
    };
    let values = names.iter().filter_map(status).take(VALUES_MAX).collect();
    Because { values, ..rule(&format!("start: after {}", names.join(", "))) }
}

/// The decision rule, and the votes that have settled it.
fn votes(run: &StepRun, approval: &ApprovalStep) -> Because {
    let Votes { asked, approved, rejected, abstained, vetoed } = Votes::of(run);
    let counts = [("asked", asked), ("approved", approved), ("rejected", rejected), ("abstained", abstained)];
    let mut values: BTreeMap<String, Json> =
        counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    if vetoed {
        values.insert("vetoed".to_owned(), true.into());
    }
    Because { values, ..rule(&format!("decision: {}", describe(approval.decision))) }
}

fn describe(decision: DecisionRule) -> String {
    let approve = match decision.approve {
        Quorum::Any => "any".to_owned(),
        Quorum::All => "all".to_owned(),
        Quorum::AtLeast(count) => format!("at_least {count}"),
        Quorum::Percent(percent) => format!("percent {percent}"),
        Quorum::Weight(weight) => format!("weight {weight}"),
    };
    match (decision.approve, decision.reject) {
        (Quorum::Any, _) | (_, RejectRule::Unreachable) => approve,
        (_, RejectRule::Any) => format!("{approve}, reject any"),
        (_, RejectRule::AtLeast(count)) => format!("{approve}, reject at_least {count}"),
    }
}

fn bounded(value: Json) -> Json {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARACTERS_MAX {
        return value;
    }
    let beginning: String = text.chars().take(VALUE_CHARACTERS_MAX).collect();
    Json::String(format!("{beginning}…"))
}
