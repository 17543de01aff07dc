//! `CloudEvents` 1.0, as flows write them.

use jiff::Timestamp;

use crate::{LINE_BYTES_MAX, Problem, expression::Template};

/// An event as it is written.
#[derive(Debug)]
pub(crate) struct EventTemplate {
    /// `type` and `source`, and what else is given of `id`, `subject`, `time` and `dataschema`.
    pub(crate) attributes: Vec<(String, Template)>,
    pub(crate) data: Option<Template>,
}

/// How long the type of an event for `quorate.events` is: it becomes a routing key, which has at most 255 bytes.
const TOLD_TYPE_BYTES_MAX: usize = 200;

/// What the types of Quorate's own events begin with.
const OWN: &str = "quorate.";

impl EventTemplate {
    /// Whether a flow may tell events of this type.
    pub(crate) fn check_told(kind: &str) -> Result<(), Problem> {
        let is_kind = (1..=TOLD_TYPE_BYTES_MAX).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if is_kind && !kind.starts_with(OWN) {
            return Ok(());
        }
        Err(Problem::validation(format!(
            "`type` of an event has 1 to {TOLD_TYPE_BYTES_MAX} of A-Z a-z 0-9 . _ -, and does not begin with `{OWN}`"
        )))
    }

    /// What the specification asks of an attribute: that it says something, on one line. A time is one of RFC 3339.
    pub(crate) fn check(name: &str, text: &str) -> Result<(), Problem> {
        if text.is_empty() || text.len() > LINE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Problem::validation(format!(
                "`{name}` of an event has 1 to {LINE_BYTES_MAX} bytes, on one line"
            )));
        }
        if name == "time" && text.parse::<Timestamp>().is_err() {
            return Err(Problem::validation("`time` of an event is a time such as 2026-01-05T09:00:00Z"));
        }
        Ok(())
    }
}
