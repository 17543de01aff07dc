//! Flows.

use super::Checker;
use crate::definition::{Flow, FlowType, source};

/// Where jobs go when a flow does not say.
const TASK_QUEUE: &str = "default";

const TYPES: [FlowType; 3] = [FlowType::Autolaunched, FlowType::Screen, FlowType::Evaluation];

impl Checker<'_> {
    pub(super) fn flow(&mut self, source: &source::Flow) -> Option<Flow> {
        let name = self.definition_name(&source.name, "name");
        let types = TYPES.map(|flow_type| (flow_type.as_str(), flow_type));
        let flow_type = self.word(&source.purpose, "type", &types);
        let task_queue = match &source.task_queue {
            Some(task_queue) => self.definition_name(task_queue, "task_queue"),
            None => TASK_QUEUE.to_owned(),
        };
        let input = source.input.as_ref().map(|schema| self.schema(schema, "input"));
        let output = source.output.as_ref().map(|schema| self.schema(schema, "output"));
        self.body(source, flow_type);
        let screens = match &source.screens {
            Some(screens) if source.code.is_none() && flow_type == Some(FlowType::Screen) => self.screens(screens),
            Some(_) | None => Some(Vec::new()),
        };
        Some(Flow {
            name,
            flow_type: flow_type?,
            task_queue,
            waits: source.waits.unwrap_or(true),
            input: input.flatten(),
            output: output.flatten(),
            screens: screens?,
            is_declarative: source.workflow.is_some(),
        })
    }

    /// What carries the flow out.
    fn body(&mut self, source: &source::Flow, flow_type: Option<FlowType>) {
        if let Some(workflow) = &source.workflow
            && flow_type == Some(FlowType::Screen)
        {
            self.error(workflow, "workflow", "a flow of `type: screen` has no workflow");
        }
        if let Some(screens) = &source.screens
            && flow_type.is_some_and(|flow_type| flow_type != FlowType::Screen)
        {
            self.error(screens, "screens", "only a flow of `type: screen` has screens");
        }
        let bodies = [source.code.is_some(), source.workflow.is_some(), source.screens.is_some()];
        match bodies.iter().filter(|is_given| **is_given).count() {
            1 => {}
            0 => self.error(
                &source.name,
                "",
                "a flow needs `code: {}` or `workflow`, or `screens` for `type: screen`: what carries it out",
            ),
            _ => self.error(&source.name, "", "a flow has only one of `code`, `workflow` and `screens`"),
        }
    }
}
