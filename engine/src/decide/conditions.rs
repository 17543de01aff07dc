//! Conditions: what expressions can read, and what they say.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    command::Submit,
    definition::{EvaluationFlow, Process, Stage, StageExit, Step, StepExit, StepKind, StepStart},
    expression::{Expression, Key, Type, Value, Variables},
    id::UserName,
    state::{Ending, Failure, FailureReason, Record, StepRun, Submission},
    status::StepRunStatus,
};

use super::draft::Draft;

/// How long a submission's summary may be, in characters: one line.
const SUMMARY_CHARACTERS_MAX: usize = 200;

/// How much of the values that an expression failed on is told, in characters.
const INPUTS_CHARACTERS_MAX: usize = 500;

impl Draft<'_, '_> {
    /// Whether a condition holds; one that cannot be evaluated is a failure, never "false" (DESIGN 2.2).
    pub(super) fn holds(&mut self, condition: &Expression) -> Result<bool, Failure> {
        let variables = self.variables();
        condition.eval_bool(&variables).map_err(|error| expression_failure(condition, &self.state, &error.to_string()))
    }

    /// The value of an expression.
    pub(super) fn evaluate(&mut self, expression: &Expression) -> Result<Value, Failure> {
        let variables = self.variables();
        expression.eval(&variables).map_err(|error| expression_failure(expression, &self.state, &error.to_string()))
    }

    pub(super) fn variables(&mut self) -> Variables {
        let record = self.record.get_or_insert_with(|| {
            Value::from_json(&self.state.record.data, &self.context.process.record.expression_type)
        });
        variables(self.context.process, &self.state, record.clone(), self.context.now)
    }
}

/// What the expressions of a process may read, as a submission stands; the record as a value of expressions.
pub(super) fn variables(process: &Process, state: &Submission, record: Value, now: Timestamp) -> Variables {
    let mut variables = Variables::new();
    variables.set("record", record);
    variables.set("submission", SubmissionFacts::of(state).value());
    variables.set("steps", steps_value(process, state));
    variables.set("stages", stages_value(process, state));
    variables.set("inputs", Value::map(BTreeMap::new()));
    variables.set("now", Value::Timestamp(now));
    variables
}

/// What is known of a submission whatever has become of it: what a summary and the condition of a delegation may read.
pub(super) fn record_variables(process: &Process, state: &Submission, now: Timestamp) -> Variables {
    variables_of(process, &SubmissionFacts::of(state), &state.record, now)
}

fn variables_of(process: &Process, facts: &SubmissionFacts<'_>, record: &Record, now: Timestamp) -> Variables {
    let mut variables = Variables::new();
    variables.set("record", Value::from_json(&record.data, &process.record.expression_type));
    variables.set("submission", facts.value());
    variables.set("now", Value::Timestamp(now));
    variables
}

/// Why an expression failed, with what it reads of the record.
fn expression_failure(expression: &Expression, state: &Submission, reason: &str) -> Failure {
    let reads: BTreeMap<String, crate::Json> = expression
        .paths()
        .iter()
        .filter(|path| path.first().is_some_and(|root| root == "record"))
        .map(|path| {
            let value = path.iter().skip(1).try_fold(&*state.record.data, |value, name| value.get(name));
            (path.join("."), value.cloned().unwrap_or_default())
        })
        .collect();
    let inputs = serde_json::to_string(&reads).unwrap_or_default();
    let inputs: String = inputs.chars().take(INPUTS_CHARACTERS_MAX).collect();
    Failure {
        reason: FailureReason::ExpressionFailed,
        message: format!("expression `{}` failed: {reason}; it reads {inputs}", expression.source()),
    }
}

/// The one line for inbox and mail. A summary is no condition: where it cannot be made, the process's title and the record's
/// id stand in for it.
pub(super) fn summary(process: &Process, submit: &Submit, record: &Record, now: Timestamp) -> String {
    let facts = SubmissionFacts {
        id: submit.id.to_string(),
        submitter: submit.submitter.as_str(),
        on_behalf_of: submit.on_behalf_of.as_ref().map(UserName::as_str),
        comment: &submit.comment,
        round: 1,
        submitted_at: now,
    };
    summary_of(process, &facts, record, now)
}

/// The one line of a submission whose record is now this one.
pub(super) fn summary_with(process: &Process, state: &Submission, record: &Record, now: Timestamp) -> String {
    summary_of(process, &SubmissionFacts::of(state), record, now)
}

fn summary_of(process: &Process, facts: &SubmissionFacts<'_>, record: &Record, now: Timestamp) -> String {
    let text =
        process.summary.as_ref().and_then(|summary| match summary.eval(&variables_of(process, facts, record, now)) {
            Ok(Value::String(text)) => Some(text.to_string()),
            _ => None,
        });
    let text = text.unwrap_or_else(|| format!("{} {}", process.title, record.id));
    text.replace(char::is_control, " ").chars().take(SUMMARY_CHARACTERS_MAX).collect()
}

struct SubmissionFacts<'a> {
    id: String,
    submitter: &'a str,
    on_behalf_of: Option<&'a str>,
    comment: &'a str,
    round: u32,
    submitted_at: Timestamp,
}

impl<'a> SubmissionFacts<'a> {
    fn of(state: &'a Submission) -> Self {
        Self {
            id: state.id.to_string(),
            submitter: state.submitter.as_str(),
            on_behalf_of: state.on_behalf_of.as_ref().map(UserName::as_str),
            comment: &state.comment,
            round: state.round,
            submitted_at: state.submitted_at,
        }
    }

    fn value(&self) -> Value {
        object([
            ("id", self.id.as_str().into()),
            ("submitter", self.submitter.into()),
            ("on_behalf_of", self.on_behalf_of.map_or(Value::Null, Value::from)),
            ("comment", self.comment.into()),
            ("round", Value::Int(i64::from(self.round))),
            ("submitted_at", Value::Timestamp(self.submitted_at)),
        ])
    }
}

/// `steps.<name>` of every step of the process: of its latest run, or as not started.
fn steps_value(process: &Process, state: &Submission) -> Value {
    let latest = state.latest_steps();
    let steps = all_steps(process).map(|step| {
        let value = match latest.get(step.name.as_str()) {
            Some(run) => step_value(run),
            None => step_facts(StepRunStatus::NotStarted, Value::map(BTreeMap::new()), Value::Null),
        };
        (Key::from(step.name.as_str()), value)
    });
    Value::map(steps.collect())
}

fn step_value(run: &StepRun) -> Value {
    let outputs = run
        .outputs
        .as_ref()
        .map_or_else(|| Value::map(BTreeMap::new()), |outputs| Value::from_json(outputs, &Type::Dyn));
    let decision = run.settled.map_or(Value::Null, |verdict| verdict.as_str().into());
    step_facts(run.status, outputs, decision)
}

fn step_facts(status: StepRunStatus, outputs: Value, decision: Value) -> Value {
    object([("status", status.as_str().into()), ("outputs", outputs), ("decision", decision)])
}

/// `stages.<name>` of every stage of the process: of its latest run; one that was never reached is `NOT_STARTED`.
fn stages_value(process: &Process, state: &Submission) -> Value {
    let stages = process.stages.iter().map(|stage| {
        let run = state.stage_runs.iter().rev().find(|run| run.name == stage.name);
        let status = run.map_or(StepRunStatus::NotStarted.as_str(), |run| run.status.as_str());
        (Key::from(stage.name.as_str()), object([("status", status.into())]))
    });
    Value::map(stages.collect())
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::map(fields.into_iter().map(|(name, value)| (Key::String(Arc::from(name)), value)).collect())
}

pub(super) fn all_steps(process: &Process) -> impl Iterator<Item = &Step> {
    let stages = process.stages.iter().flat_map(|stage| &stage.steps);
    stages.chain(&process.rejection_path).chain(&process.recall_path).chain(&process.cancel_path)
}

/// Whether a condition of the stage reads `now`, so that the passing of time can change what it says.
pub(super) fn reads_now(process: &Process, stage: &str, ending: Option<Ending>) -> bool {
    let (steps, exit) = match ending {
        Some(ending) => (process.path(ending), None),
        None => match process.stages.iter().find(|candidate| candidate.name == stage) {
            Some(Stage { steps, exit: StageExit::When(exit), .. }) => (&steps[..], Some(exit)),
            Some(Stage { steps, .. }) => (&steps[..], None),
            None => (&[][..], None),
        },
    };
    steps.iter().flat_map(step_conditions).chain(exit).any(|condition| condition.reads("now"))
}

/// The entry and the exit condition of a step, where they are expressions.
fn step_conditions(step: &Step) -> impl Iterator<Item = &Expression> {
    entry_condition(step).into_iter().chain(exit_condition(step))
}

/// The entry condition of a step, where it is an expression.
pub(super) fn entry_condition(step: &Step) -> Option<&Expression> {
    match &step.start {
        StepStart::When(condition) => Some(condition),
        StepStart::StageStarts | StepStart::After(_) | StepStart::Evaluation(_) => None,
    }
}

/// The exit condition of a step, where it is an expression.
pub(super) fn exit_condition(step: &Step) -> Option<&Expression> {
    match &step.kind {
        StepKind::Approval(approval) => match &approval.exit {
            StepExit::When(condition) => Some(condition),
            StepExit::Settled | StepExit::Evaluation(_) => None,
        },
        StepKind::Background(_) => None,
    }
}

/// The flow that is asked about the entry condition of a step.
pub(super) fn entry_evaluation(step: &Step) -> Option<&EvaluationFlow> {
    match &step.start {
        StepStart::Evaluation(flow) => Some(flow),
        StepStart::StageStarts | StepStart::After(_) | StepStart::When(_) => None,
    }
}

/// The flow that is asked about the exit condition of a step.
pub(super) fn exit_evaluation(step: &Step) -> Option<&EvaluationFlow> {
    match &step.kind {
        StepKind::Approval(approval) => match &approval.exit {
            StepExit::Evaluation(flow) => Some(flow),
            StepExit::Settled | StepExit::When(_) => None,
        },
        StepKind::Background(_) => None,
    }
}

/// Whether something outside the submission can change what a condition says.
pub(super) fn is_awaited(condition: &Expression) -> bool {
    condition.reads("record") || condition.reads("now")
}

/// Whether something outside the submission can make a flow be asked again that has answered no. The time cannot: no timer
/// asks a flow again.
pub(super) fn is_asked_again(flow: &EvaluationFlow) -> bool {
    flow.input.values().any(|input| input.reads("record"))
}
