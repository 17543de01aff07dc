//! The trace that a submission belongs to, as its caller names it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A W3C trace context (<https://www.w3.org/TR/trace-context/>): which trace something is part of, and which span it is
/// under. Quorate hands it on as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceParent(Box<str>);

impl TraceParent {
    /// Reads the `traceparent` of a call: version 00 exactly, of a later version what that one knew too. `None` where it is not
    /// one: such a header is to be treated as if it had not come.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let later = parts.next();
        let known = match version {
            "ff" => false,
            "00" => later.is_none(),
            _ => is_hex(version, 2),
        };
        let set = |digits: &str| digits.bytes().any(|digit| digit != b'0');
        let whole = is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2) && set(trace) && set(span);
        (known && whole).then(|| Self(format!("00-{trace}-{span}-{flags}").into()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is so many hexadecimal digits in lower case.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::TraceParent;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_parent_is_handed_on_as_it_came() {
        assert_eq!(TraceParent::parse(SENT).unwrap().as_str(), SENT);
    }

    #[test]
    fn of_a_later_version_what_is_known_is_handed_on() {
        let later = SENT.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(&later).unwrap().as_str(), SENT);
        assert_eq!(TraceParent::parse(&format!("{later}-what-will-be")).unwrap().as_str(), SENT);
    }

    #[test]
    fn what_is_no_trace_parent_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
