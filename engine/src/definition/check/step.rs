//! Steps: when they start and what they do.

use std::collections::BTreeMap;

use serde_saphyr::Spanned;

use super::{
    Checker, Text, graph,
    process::{Facts, Group, STEPS_MAX},
    shorten,
};
use crate::definition::{Step, StepKind, StepStart, source};

impl Checker<'_> {
    pub(super) fn steps(&mut self, group: Group<'_>, path: &str, facts: &Facts<'_>) -> Option<Vec<Step>> {
        let steps = self.list(group.steps, path, "step", STEPS_MAX);
        let steps: Vec<Option<Step>> = (steps.iter().enumerate())
            .map(|(index, step)| self.step(step, group, &format!("{path}[{index}]"), facts))
            .collect();
        self.order(group, path);
        steps.into_iter().collect()
    }

    fn step(
        &mut self,
        source: &Spanned<source::Step>,
        group: Group<'_>,
        path: &str,
        facts: &Facts<'_>,
    ) -> Option<Step> {
        let step = &source.value;
        let start = self.start(step, group, &format!("{path}.start"));
        let kind = match (&step.approval, &step.background) {
            (Some(approval), None) => {
                let path = format!("{path}.approval");
                if group.is_path {
                    self.error(approval, &path, format!("{} runs background steps only", group.name));
                }
                self.approval(&step.name, &approval.value, &path, facts).map(StepKind::Approval)
            }
            (None, Some(background)) => {
                self.background(&background.value, &format!("{path}.background")).map(StepKind::Background)
            }
            (Some(_), Some(_)) => {
                self.error(source, path, "a step has either `approval` or `background`, not both");
                None
            }
            (None, None) => {
                self.error(source, path, "a step needs `approval` or `background`: what it does");
                None
            }
        };
        Some(Step { name: step.name.value.clone(), start: start?, kind: kind? })
    }

    fn start(&mut self, step: &source::Step, group: Group<'_>, path: &str) -> Option<StepStart> {
        let Some(start) = &step.start else { return Some(StepStart::StageStarts) };
        match (&start.value.after, &start.value.when, &start.value.evaluation) {
            (Some(after), None, None) => {
                let path = format!("{path}.after");
                let names = self.list(after, &path, "step", STEPS_MAX);
                for (index, name) in names.iter().enumerate() {
                    self.earlier_step(name, step, group, &format!("{path}[{index}]"));
                }
                Some(StepStart::After(after.value.iter().map(|name| name.value.clone()).collect()))
            }
            (None, Some(when), None) => {
                let path = format!("{path}.when");
                let expression = self.condition(when, &path)?;
                let may_change = expression.reads("record") || expression.reads("now");
                self.warn_of_stall(&step.name, when, group, &path, may_change);
                Some(StepStart::When(expression))
            }
            (None, None, Some(evaluation)) => {
                let path = format!("{path}.evaluation");
                let flow = self.evaluation(evaluation, &path)?;
                let may_change = flow.input.values().any(|input| input.reads("record"));
                self.warn_of_stall(&step.name, &evaluation.flow, group, &path, may_change);
                Some(StepStart::Evaluation(flow))
            }
            (None, None, None) => {
                let message = "say `after`, `when` or `evaluation`; a step without `start` starts with its stage";
                self.error(start, path, message);
                None
            }
            _ => {
                let message = "a step starts in one way: `after` other steps, `when` a condition holds, or when an \
                               `evaluation` flow says so";
                self.error(start, path, message);
                None
            }
        }
    }

    fn earlier_step(&mut self, name: &Text, step: &source::Step, group: Group<'_>, path: &str) {
        let mut names = group.steps.value.iter().map(|step| step.value.name.value.as_str());
        if name.value == step.name.value {
            self.error(name, path, "a step does not wait for itself");
        } else if !names.clone().any(|other| other == name.value) {
            let others = names.by_ref().filter(|other| *other != step.name.value);
            let hint = self.hint(&name.value, others);
            self.error(name, path, format!("{} has no step `{}`{hint}", group.name, shorten(&name.value)));
        }
    }

    /// Complains of steps that wait for each other.
    fn order(&mut self, group: Group<'_>, path: &str) {
        let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for step in &group.steps.value {
            if let Some(start) = &step.value.start
                && let Some(after) = &start.value.after
            {
                // A step that waits for itself has been complained of.
                let others = after.value.iter().map(|other| other.value.as_str());
                let name = step.value.name.value.as_str();
                edges.insert(name, others.filter(|other| *other != name).collect());
            }
        }
        let Some((name, way)) = graph::find_cycle(&edges) else { return };
        if let Some(index) = group.steps.value.iter().position(|step| step.value.name.value == name) {
            let message = format!("these steps wait for each other, so that none ever starts: {way}");
            let name = &group.steps.value[index].value.name;
            self.error(name, &format!("{path}[{index}].start.after"), message);
        }
    }

    /// By default a stage ends when all its steps are completed, and a step that has not started is not completed
    /// (DESIGN 2.2, stall).
    fn warn_of_stall(&mut self, step: &Text, condition: &Text, group: Group<'_>, path: &str, may_change: bool) {
        if !group.ends_by_default {
            return;
        }
        let (step, group_name) = (&step.value, group.name);
        let consequence =
            if may_change { "may wait for ever" } else { "cannot end, and meets an error once nothing is in progress" };
        let message = format!(
            "`{step}` starts only under this condition, and {group_name} ends when all its steps are completed: while the \
             condition does not hold, it {consequence}; say in `complete` when it ends"
        );
        self.warning(condition, path, message);
    }
}
