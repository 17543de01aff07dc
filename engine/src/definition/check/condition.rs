//! Conditions: an expression that must be true, or an evaluation flow that must answer so (DESIGN 2.2).

use serde_saphyr::Spanned;

use super::{Checker, background::Bounds};
use crate::{
    definition::{EvaluationFlow, FlowType, source},
    expression::Expression,
};

/// What a condition is.
pub(super) enum Condition {
    /// An expression.
    When(Expression),
    /// A flow.
    Evaluation(EvaluationFlow),
}

impl Checker<'_> {
    /// What is said in `complete`.
    pub(super) fn complete(&mut self, source: &Spanned<source::Condition>, path: &str) -> Option<Condition> {
        match (&source.value.when, &source.value.evaluation) {
            (Some(when), None) => self.condition(when, &format!("{path}.when")).map(Condition::When),
            (None, Some(evaluation)) => {
                self.evaluation(evaluation, &format!("{path}.evaluation")).map(Condition::Evaluation)
            }
            (Some(_), Some(_)) => {
                self.error(source, path, "say either `when` or `evaluation`, not both");
                None
            }
            (None, None) => {
                self.error(source, path, "say `when`, with an expression, or `evaluation`, with a flow");
                None
            }
        }
    }

    /// A flow that is asked whether a condition holds.
    pub(super) fn evaluation(&mut self, source: &source::Evaluation, path: &str) -> Option<EvaluationFlow> {
        self.flow_of_type(&source.flow, &format!("{path}.flow"), FlowType::Evaluation, "a condition");
        let input = self.input(&source.flow, &source.input, &format!("{path}.input"));
        let bounds = Bounds {
            timeout: source.timeout.as_ref(),
            total_timeout: source.total_timeout.as_ref(),
            heartbeat: source.heartbeat.as_ref(),
            retry: &source.retry,
        };
        let retry = self.retry(&bounds, path);
        Some(EvaluationFlow { flow: source.flow.value.clone(), input: input?, retry })
    }
}
