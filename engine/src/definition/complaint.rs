//! Complaints: what is wrong with a definition, and where.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

/// How many complaints are made at once: a reader mends the first few and asks again, and a hostile text must not make
/// an answer that is many times its own size.
pub const COMPLAINTS_MAX: usize = 100;

/// Something wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The field that is meant, such as `stages[0].steps[1].approval`; empty for the whole definition.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Whether the definition is refused for it.
    pub severity: Severity,
}

/// Whether a definition is refused for a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// It is.
    Error,
    /// It is not: the definition can be used, but may not do what was meant.
    Warning,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, path, message, severity } = self;
        write!(f, "{line}:{column} ")?;
        if *severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// A place in a text: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    /// The beginning of the text, for what has no better place.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        if location == Location::UNKNOWN {
            Self::START
        } else {
            Self { line: location.line(), column: location.column() }
        }
    }
}

impl<T> From<&Spanned<T>> for Place {
    fn from(spanned: &Spanned<T>) -> Self {
        spanned.referenced.into()
    }
}

/// Complaints as they are collected.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    found: Vec<Complaint>,
}

impl Complaints {
    /// Adds a reason to refuse the definition.
    pub(super) fn error(&mut self, at: impl Into<Place>, path: &str, message: impl Into<String>) {
        self.add(at.into(), path, message.into(), Severity::Error);
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, at: impl Into<Place>, path: &str, message: impl Into<String>) {
        self.add(at.into(), path, message.into(), Severity::Warning);
    }

    fn add(&mut self, Place { line, column }: Place, path: &str, message: String, severity: Severity) {
        // An error is never left out for warnings: it is what decides.
        if self.is_full() {
            let Some(last_warning) = self.found.iter().rposition(|complaint| complaint.severity == Severity::Warning)
            else {
                return;
            };
            if severity == Severity::Warning {
                return;
            }
            self.found.remove(last_warning);
        }
        self.found.push(Complaint { line, column, path: path.to_owned(), message, severity });
    }

    /// Whether no more are taken.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= COMPLAINTS_MAX
    }

    /// In the order of the text: what was built and the warnings, or all complaints when something is wrong.
    pub(super) fn settle<T>(mut self, built: Option<T>) -> Result<(T, Vec<Complaint>), Vec<Complaint>> {
        self.found.sort_by_key(|complaint| (complaint.line, complaint.column));
        let refused = self.found.iter().any(|complaint| complaint.severity == Severity::Error);
        match built {
            Some(built) if !refused => Ok((built, self.found)),
            // Nothing is left unbuilt without a complaint; if it ever is, the definition is refused all the same.
            _ => Err(self.found),
        }
    }
}
