//! From what people write to what the engine runs, or to complaints: all of them at once, with line and column.
//!
//! A text that is no YAML, or does not have the fields of its kind, has one complaint: what comes after it cannot be
//! read with any certainty. Everything else is collected over the whole definition.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use super::{
    DirectoryDocument, Flow, FlowType, Kind, Process,
    complaint::{Complaint, Complaints, Place},
    duration,
    source::{self, Text},
    suggest::nearest,
    yaml,
};
use crate::calendar::Calendar;
use crate::expression::{Expression, Scope, Type};

mod approval;
mod assign;
mod background;
mod calendar;
mod condition;
mod directory;
mod expressions;
mod flow;
mod graph;
mod moments;
mod process;
mod process_test;
mod record;
mod routing;
mod screen;
mod step;

pub use approval::DISTINCT_FROM_MAX;
pub use assign::{ASSIGN_RULES_MAX, MANAGER_LEVELS_MAX};
pub use background::{ATTEMPTS_MAX, BACKOFF_MAX, INPUT_FIELDS_MAX, NON_RETRYABLE_MAX, SYNC_TIMEOUT_MS_MAX};
pub use calendar::{HOLIDAYS_MAX, INTERVALS_MAX};
pub use expressions::{scope, summary_scope};
pub use moments::{BUSINESS_DAYS_MAX, MOMENTS_MAX, REMINDERS_MAX};
pub use process::{STAGES_MAX, STEPS_MAX, TITLE_CHARS_MAX};
pub use process_test::{ANSWERS_MAX, SCRIPT_LINES_MAX, TESTS_MAX};
pub use record::RECORD_PATHS_MAX;
pub use routing::{ROUTES_MAX, SEND_BACK_STAGES_MAX};
pub use screen::{DESCRIPTION_CHARS_MAX, SCREEN_FIELDS_MAX, SCREENS_MAX, SHOWN_MAX};

/// The version of the format that is read.
pub const API_VERSION: &str = "quorate/v1";

/// How long the names of processes, flows, stages, steps, task queues and record types may be: they are keys of tables,
/// parts of routing keys (255 bytes in AMQP) and headings of columns.
pub const NAME_CHARS_MAX: usize = 64;

/// What definitions name that is not in them.
pub trait Known {
    /// The type of the flow of this name.
    fn flow(&self, name: &str) -> Option<FlowType>;
    /// Whether there is a user of this name.
    fn has_user(&self, name: &str) -> bool;
    /// Whether there is a group of this name.
    fn has_group(&self, name: &str) -> bool;
    /// Whether there is a queue of this name.
    fn has_queue(&self, name: &str) -> bool;
    /// Whether there is a calendar of this name.
    fn has_calendar(&self, name: &str) -> bool;

    /// Whether there is a flow of this name and type.
    fn has_flow(&self, name: &str, flow_type: FlowType) -> bool {
        self.flow(name) == Some(flow_type)
    }

    /// The task queue of a flow, where it is known that nobody serves it at the moment.
    fn unserved_task_queue(&self, _flow: &str) -> Option<String> {
        None
    }

    /// The names that there are, for "did you mean": asked for only when a name is unknown.
    fn names(&self, _of: Named) -> Vec<String> {
        Vec::new()
    }
}

/// What has a name outside of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A flow.
    Flow,
    /// A user.
    User,
    /// A group.
    Group,
    /// A queue.
    Queue,
    /// A calendar.
    Calendar,
}

impl Named {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::User => "user",
            Self::Group => "group",
            Self::Queue => "queue",
            Self::Calendar => "calendar",
        }
    }
}

/// Knows every name: for definitions that were checked when they were published, and for checking one by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Known for Everything {
    fn flow(&self, _name: &str) -> Option<FlowType> {
        Some(FlowType::Autolaunched)
    }

    fn has_user(&self, _name: &str) -> bool {
        true
    }

    fn has_group(&self, _name: &str) -> bool {
        true
    }

    fn has_queue(&self, _name: &str) -> bool {
        true
    }

    fn has_calendar(&self, _name: &str) -> bool {
        true
    }

    fn has_flow(&self, _name: &str, _flow_type: FlowType) -> bool {
        true
    }
}

/// Reads a process, with the warnings that there are, or with all complaints, warnings among them, when there is an
/// error.
pub fn read_process(text: &str, known: &dyn Known) -> Result<(Process, Vec<Complaint>), Vec<Complaint>> {
    expect_kind(text, Kind::ApprovalProcess)?;
    let source: source::Process = yaml::read(text)?;
    let mut checker = Checker::new(text, known);
    let process = checker.process(&source);
    checker.complaints.settle(process)
}

/// Reads a flow.
pub fn read_flow(text: &str) -> Result<Flow, Vec<Complaint>> {
    expect_kind(text, Kind::Flow)?;
    let source: source::Flow = yaml::read(text)?;
    let mut checker = Checker::new(text, &Everything);
    let flow = checker.flow(&source);
    checker.complaints.settle(flow).map(|(flow, _)| flow)
}

/// Reads a calendar.
pub fn read_calendar(text: &str) -> Result<Calendar, Vec<Complaint>> {
    expect_kind(text, Kind::Calendar)?;
    let source: source::Calendar = yaml::read(text)?;
    let mut checker = Checker::new(text, &Everything);
    let calendar = checker.calendar(&source);
    checker.complaints.settle(calendar).map(|(calendar, _)| calendar)
}

/// Reads people. Names that the document does not hold are not looked for: they may be in the directory already, and
/// [`Directory::check`](crate::directory::Directory::check) looks at the whole.
pub fn read_directory(text: &str) -> Result<DirectoryDocument, Vec<Complaint>> {
    expect_kind(text, Kind::Directory)?;
    let source: source::Directory = yaml::read(text)?;
    let mut checker = Checker::new(text, &Everything);
    let document = checker.directory(source);
    checker.complaints.settle(Some(document)).map(|(document, _)| document)
}

/// What kind of definition a document is.
pub fn kind_of(text: &str) -> Result<Kind, Vec<Complaint>> {
    let header: source::Header = yaml::read(text)?;
    let mut checker = Checker::new(text, &Everything);
    if header.api_version.value != API_VERSION {
        let message = format!("`{}` is not read; this version reads `{API_VERSION}`", header.api_version.value);
        checker.error(&header.api_version, "apiVersion", message);
    }
    let kind = checker.word(&header.kind, "kind", &Kind::ALL.map(|kind| (kind.as_str(), kind)));
    checker.complaints.settle(kind).map(|(kind, _)| kind)
}

fn expect_kind(text: &str, wanted: Kind) -> Result<(), Vec<Complaint>> {
    let kind = kind_of(text)?;
    if kind == wanted {
        return Ok(());
    }
    let header: source::Header = yaml::read(text)?;
    let mut complaints = Complaints::default();
    let message = format!("this is a definition of kind `{}`; `{}` is wanted here", kind.as_str(), wanted.as_str());
    complaints.error(&header.kind, "kind", message);
    complaints.settle(None).map(|((), _)| ())
}

/// Checks one definition. Its methods complain and go on; what they return is used only if there was no error.
struct Checker<'a> {
    text: &'a str,
    known: &'a dyn Known,
    complaints: Complaints,
    /// The type of `record`.
    record: Type,
    /// What expressions may read.
    scope: Scope,
    /// Whether the step at hand names a calendar.
    has_calendar: bool,
    /// The flows that were warned of: each is once, where it is first named.
    unserved: BTreeSet<String>,
}

impl<'a> Checker<'a> {
    fn new(text: &'a str, known: &'a dyn Known) -> Self {
        Self {
            text,
            known,
            complaints: Complaints::default(),
            record: Type::Dyn,
            scope: Scope::new(),
            has_calendar: false,
            unserved: BTreeSet::new(),
        }
    }

    fn error(&mut self, at: impl Into<Place>, path: &str, message: impl Into<String>) {
        self.complaints.error(at, path, message);
    }

    fn warning(&mut self, at: impl Into<Place>, path: &str, message: impl Into<String>) {
        self.complaints.warning(at, path, message);
    }

    /// A name of a process, a flow or a task queue.
    fn definition_name(&mut self, name: &Text, path: &str) -> String {
        let is_first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let sound = name.value.starts_with(is_first)
            && name.value.chars().all(|c| is_first(c) || matches!(c, '.' | '_' | '-'))
            && name.value.len() <= NAME_CHARS_MAX;
        if !sound {
            let message = format!(
                "`{}` cannot be used as a name here; use up to {NAME_CHARS_MAX} of a-z, 0-9, `.`, `_` and `-`, and begin \
                 with a letter or digit",
                shorten(&name.value),
            );
            self.error(name, path, message);
        }
        name.value.clone()
    }

    /// A name of a stage or a step, which expressions use as `steps.<name>`.
    fn expression_name(&mut self, name: &Text, path: &str) {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let sound = name.value.starts_with(is_first)
            && name.value.chars().all(|c| is_first(c) || c.is_ascii_digit())
            && name.value.len() <= NAME_CHARS_MAX;
        if !sound {
            let message = format!(
                "`{}` cannot be used as a name here; use up to {NAME_CHARS_MAX} of a-z, A-Z, 0-9 and `_`, and do not begin \
                 with a digit: expressions use the name as it is",
                shorten(&name.value),
            );
            self.error(name, path, message);
        } else if Expression::parse(&format!("steps.{}.status", name.value)).is_err() {
            self.error(name, path, format!("`{}` is a word of the expression language; use another name", name.value));
        }
    }

    /// One of some words.
    fn word<T: Copy>(&mut self, word: &Text, path: &str, words: &[(&str, T)]) -> Option<T> {
        self.word_or(word, &word.value, path, words, &[])
    }

    /// One of some words, where something else than a word could be written too.
    fn word_or<T: Copy>(
        &mut self,
        at: impl Into<Place>,
        word: &str,
        path: &str,
        words: &[(&str, T)],
        or: &[&str],
    ) -> Option<T> {
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<String> = words
                .iter()
                .map(|(known, _)| *known)
                .chain(or.iter().copied())
                .map(|known| format!("`{known}`"))
                .collect();
            let choice = match known.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => String::new(),
            };
            self.error(at, path, format!("`{}` is not understood; write {choice}", shorten(word)));
        }
        found
    }

    /// A duration in milliseconds, or the default where none is given.
    fn duration(&mut self, text: Option<&Text>, path: &str, default: u64) -> u64 {
        text.and_then(|text| match duration::parse(&text.value) {
            Ok(milliseconds) => Some(milliseconds),
            Err(message) => {
                self.error(text, path, message);
                None
            }
        })
        .unwrap_or(default)
    }

    /// A duration that may be left out.
    fn duration_if_given(&mut self, text: Option<&Text>, path: &str) -> Option<u64> {
        text.map(|text| self.duration(Some(text), path, u64::MAX))
    }

    /// A number within bounds, or the default where none is given.
    fn number<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        number: Option<&Spanned<T>>,
        path: &str,
        (least, most): (T, T),
        default: T,
    ) -> T {
        let Some(number) = number else { return default };
        // Written so that what is not a number is refused as well.
        if !(number.value >= least && number.value <= most) {
            self.error(number, path, format!("{} is out of bounds; use {least} to {most}", number.value));
        }
        number.value
    }

    /// A list that is not empty, as far as it is looked at. Complains of one that is longer.
    fn list<'l, T>(&mut self, list: &'l Spanned<Vec<T>>, path: &str, what: &str, most: usize) -> &'l [T] {
        if list.value.is_empty() {
            self.error(list, path, format!("at least one {what} is needed"));
        }
        self.at_most(&list.value, list, path, most)
    }

    fn at_most<'l, T>(&mut self, list: &'l [T], at: impl Into<Place>, path: &str, most: usize) -> &'l [T] {
        if list.len() > most {
            self.error(at, path, format!("{} are too many; use at most {most}", list.len()));
        }
        &list[..list.len().min(most)]
    }

    /// The end of a complaint about an unknown name: what may have been meant, or nothing.
    fn hint<'n>(&self, name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
        // Beyond the bound nothing is added, and looking for near names would be work for nothing.
        let near = if self.complaints.is_full() { None } else { nearest(name, names) };
        near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
    }

    /// Complains of a user, a group or a queue that does not exist.
    fn principal(&mut self, name: &Text, path: &str, of: Named) {
        let exists = match of {
            Named::User => self.known.has_user(&name.value),
            Named::Group => self.known.has_group(&name.value),
            Named::Queue => self.known.has_queue(&name.value),
            Named::Flow => self.known.flow(&name.value).is_some(),
            Named::Calendar => self.known.has_calendar(&name.value),
        };
        if !exists {
            self.unknown(name, path, of);
        }
    }

    /// Complains of a flow that does not exist or is of another type.
    fn flow_of_type(&mut self, name: &Text, path: &str, flow_type: FlowType, use_as: &str) {
        if self.known.has_flow(&name.value, flow_type) {
            if flow_type != FlowType::Screen
                && let Some(queue) = self.known.unserved_task_queue(&name.value)
                && self.unserved.insert(name.value.clone())
            {
                let message = format!(
                    "no worker serves the task queue `{queue}` at the moment: jobs of flow `{}` wait for one",
                    name.value
                );
                self.warning(name, path, message);
            }
            return;
        }
        match self.known.flow(&name.value) {
            None => self.unknown(name, path, Named::Flow),
            Some(other) => {
                let (other, wanted) = (other.as_str(), flow_type.as_str());
                let message = format!("flow `{}` is of type {other}; {use_as} takes one of type {wanted}", name.value);
                self.error(name, path, message);
            }
        }
    }

    fn unknown(&mut self, name: &Text, path: &str, of: Named) {
        let names = if self.complaints.is_full() { Vec::new() } else { self.known.names(of) };
        let hint = self.hint(&name.value, names.iter().map(String::as_str));
        self.error(name, path, format!("there is no {} `{}`{hint}", of.as_str(), shorten(&name.value)));
    }
}

/// A text as it is repeated in a complaint.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
