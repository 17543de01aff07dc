//! Whether things stand as expected.

use std::fmt;

use super::{
    Expectation, RunRef,
    action::run_of,
    report::{Difference, round},
};
use crate::{
    Json,
    state::{Assignee, StageRun, Submission},
    status::StepRunStatus,
};

/// What a stage that was never reached is said to be: the word that its steps have.
pub(crate) const NOT_REACHED: &str = StepRunStatus::NotStarted.as_str();

/// Where the state is not as expected.
pub(super) fn differences(expected: &Expectation, state: &Submission) -> Vec<Difference> {
    let mut found = Found::default();
    if let Some(status) = expected.status {
        found.compare("status", status, state.status);
    }
    if let Some(failure) = expected.failure {
        let got = state.failure.as_ref().map_or("none", |failure| failure.reason.as_str());
        found.compare("failure", failure.as_str(), got);
    }
    if let Some(round) = expected.round {
        found.compare("round", round, state.round);
    }
    for (stage, status) in &expected.stages {
        let got = stage_of(state, stage).map_or(NOT_REACHED, |run| run.status.as_str());
        found.compare(format!("stages.{stage}"), status.map_or(NOT_REACHED, |status| status.as_str()), got);
    }
    for (step, status) in &expected.steps {
        let run = run_of(state, step);
        found.compare(format!("steps.{step}"), *status, run.map_or(StepRunStatus::NotStarted, |run| run.status));
    }
    for (step, assignee, status) in &expected.work_items {
        let items = run_of(state, step).map_or(&[][..], |run| &run.work_items);
        let item = items.iter().rfind(|item| item.assignee == *assignee);
        let what = format!("work_items of {step} for {}", name(assignee));
        let got = item.map_or_else(|| asked(items.iter().map(|item| &item.assignee)), |item| item.status.to_string());
        found.compare(what, status.as_str(), got);
    }
    for (step, outputs) in &expected.outputs {
        let got = run_of(state, step).and_then(|run| run.outputs.as_deref());
        found.fields(&format!("outputs.{step}"), outputs, got);
    }
    if let Some(record) = &expected.record {
        found.fields("record", record, Some(&state.record.data));
    }
    found.differences
}

#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
}

impl Found {
    fn compare(&mut self, what: impl Into<String>, expected: impl fmt::Display, got: impl fmt::Display) {
        let (expected, got) = (expected.to_string(), got.to_string());
        if expected != got {
            self.differences.push(Difference { what: what.into(), expected, got });
        }
    }

    /// Each field that is expected; others may be there.
    fn fields(&mut self, what: &str, expected: &Json, got: Option<&Json>) {
        for (field, expected) in expected.as_object().into_iter().flatten() {
            let got = got.and_then(|got| got.get(field));
            if !got.is_some_and(|got| same(expected, got)) {
                self.compare(format!("{what}.{field}"), expected, got.map_or("nothing".to_owned(), Json::to_string));
            }
        }
    }
}

/// Whether two values are the same; a number is, however it is written.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let has_same = |(field, value)| other.get(field).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(has_same)
        }
        (one, other) => one == other,
    }
}

fn stage_of<'s>(state: &'s Submission, of: &RunRef) -> Option<&'s StageRun> {
    let stages = state.stage_runs.iter().rev().filter(|stage| stage.name == of.name);
    stages.into_iter().find(|stage| of.round.is_none_or(|round| stage.round == round))
}

/// Whom a step asks, where it is not whom it should.
fn asked<'a>(assignees: impl Iterator<Item = &'a Assignee>) -> String {
    let names: Vec<String> = assignees.map(name).collect();
    if names.is_empty() { "nobody is asked".to_owned() } else { format!("asked are {}", names.join(", ")) }
}

/// As tests write it: `bob`, `group:finance`.
fn name(assignee: &Assignee) -> String {
    match assignee {
        Assignee::User(name) => name.clone(),
        Assignee::Group(_) | Assignee::Queue(_) => assignee.to_string(),
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.round.map_or_else(String::new, round))
    }
}
