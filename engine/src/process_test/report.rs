//! What a test came to, as people read it.

use std::fmt;

use crate::{
    definition::{Complaint, Severity},
    state::Submission,
};

/// What a test came to.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Its number among the tests of the process, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `None`: all that it claims holds.
    pub failed: Option<Failed>,
}

/// Why a test failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The line of the definition, from 1.
    pub line: u64,
    /// What does not hold.
    pub message: String,
    /// What was expected beside what was found.
    pub differences: Vec<Difference>,
    /// How the submission stood, a line each.
    pub standing: Vec<String>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What, such as `steps.manager`.
    pub what: String,
    /// What the test says.
    pub expected: String,
    /// What is so.
    pub got: String,
}

impl TestResult {
    /// The failure as a complaint about the definition.
    pub fn complaint(&self) -> Option<Complaint> {
        let failed = self.failed.as_ref()?;
        Some(Complaint {
            line: failed.line,
            column: 1,
            path: format!("tests[{}]", self.index),
            message: format!("the test `{}` fails: {failed}", self.name),
            severity: Severity::Error,
        })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let rows = self.differences.iter().map(|row| [row.what.as_str(), &row.expected, &row.got]);
        let rows: Vec<[&str; 3]> = [["", "expected", "got"]].into_iter().chain(rows).collect();
        if !self.differences.is_empty() {
            let widths = [0, 1].map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
            for [what, expected, got] in rows {
                let [what_width, expected_width] = widths;
                write!(f, "\n  {what:what_width$}  {expected:expected_width$}  {got}")?;
            }
        }
        if !self.standing.is_empty() {
            f.write_str("\nhow it stood:")?;
            for line in &self.standing {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

/// How a submission stands, a line for each thing of it that has a status.
pub(super) fn standing(state: Option<&Submission>) -> Vec<String> {
    let Some(state) = state else { return vec!["there is no submission".to_owned()] };
    let failure = |failure: &Option<crate::state::Failure>| {
        failure
            .as_ref()
            .map_or_else(String::new, |failure| format!(" {}: {}", failure.reason.as_str(), failure.message))
    };
    let mut lines = vec![format!("submission {}, round {}{}", state.status, state.round, failure(&state.failure))];
    for stage in &state.stage_runs {
        let round = round(stage.round);
        lines.push(format!("  stage {}{round} {}{}", stage.name, stage.status, failure(&stage.failure)));
        for step in &stage.steps {
            let outputs = step.outputs.as_ref().map_or_else(String::new, |outputs| format!(" {outputs}"));
            lines.push(format!("    step {}{round} {}{outputs}{}", step.name, step.status, failure(&step.failure)));
            let items = step.work_items.iter().map(|item| format!("      {} {}", item.assignee, item.status));
            lines.extend(items);
        }
    }
    lines
}

/// How a round is written behind a name; the first is not.
pub(super) fn round(round: u32) -> String {
    if round > 1 { format!("#{round}") } else { String::new() }
}
