//! What a test came to, as people read it.

use std::fmt;

use crate::{
    definition::{Complaint, Severity},
    state::{Failure, Submission},
};

/// How many characters of a value, or of a line that tells how it stood, are shown: enough to know it by. An output may be as
/// long as a definition, and stands in the report of every test that fails.
const SHOWN_CHARS_MAX: usize = 200;

/// How many characters of what does not hold are shown: a refusal may tell what is wrong with many fields.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// How many lines tell how a submission stood, and how many differences are shown: as far as people read. With the bounds above
/// a server's report on a hundred tests stays at a few megabytes.
const LINES_MAX: usize = 100;

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

impl Failed {
    /// What does not hold, told within bounds.
    pub(super) fn new(line: u64, message: &str, mut differences: Vec<Difference>, state: Option<&Submission>) -> Self {
        differences.truncate(LINES_MAX);
        for difference in &mut differences {
            difference.what = shorten(&difference.what, SHOWN_CHARS_MAX);
            difference.expected = shorten(&difference.expected, SHOWN_CHARS_MAX);
            difference.got = shorten(&difference.got, SHOWN_CHARS_MAX);
        }
        let mut standing = standing(state);
        // What it came to stands first, and what happened last at the end.
        if let Some(more) = standing.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
            standing.splice(1..=more, [format!("  … {more} lines")]);
        }
        Self { line, message: shorten(message, MESSAGE_CHARS_MAX), differences, standing }
    }
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
fn standing(state: Option<&Submission>) -> Vec<String> {
    let Some(state) = state else { return vec!["there is no submission".to_owned()] };
    let failure = |failure: &Option<Failure>| match failure {
        Some(failure) => format!(" {}: {}", failure.reason.as_str(), shorten(&failure.message, SHOWN_CHARS_MAX)),
        None => String::new(),
    };
    let mut lines = vec![format!("submission {}, round {}{}", state.status, state.round, failure(&state.failure))];
    for stage in &state.stage_runs {
        let round = round(stage.round);
        lines.push(format!("  stage {}{round} {}{}", stage.name, stage.status, failure(&stage.failure)));
        for step in &stage.steps {
            let outputs = step.outputs.as_ref();
            let outputs = outputs
                .map_or_else(String::new, |outputs| format!(" {}", shorten(&outputs.to_string(), SHOWN_CHARS_MAX)));
            lines.push(format!("    step {}{round} {}{outputs}{}", step.name, step.status, failure(&step.failure)));
            let items = step.work_items.iter().map(|item| format!("      {} {}", item.assignee, item.status));
            lines.extend(items);
        }
    }
    lines
}

/// The beginning of a text that is longer than is shown.
fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// How a round is written behind a name; the first is not.
pub(super) fn round(round: u32) -> String {
    if round > 1 { format!("#{round}") } else { String::new() }
}
