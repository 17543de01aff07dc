//! Regular expressions for `matches`, in a small program and with the meaning that CEL gives them.

use regex::{Regex, RegexBuilder};

use super::budget::{PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX, PATTERN_SMALL_BYTES_MAX, exceeded};
use super::{EvalError, EvalErrorReason};

/// Nested groups of a pattern: people write two or three.
const PATTERN_NESTING_MAX: u32 = 16;

/// Bytes in which a matcher may remember the sets of states it has been in: none. That makes matching faster where the
/// sets come again, and seven times slower where each is new, which a hostile pattern can see to.
const MATCHER_BYTES_MAX: usize = 0;

/// A compiled regular expression.
#[derive(Clone)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// Whether it is larger than [`PATTERN_SMALL_BYTES_MAX`].
    pub(super) is_large: bool,
}

impl Pattern {
    /// Compiles a pattern within [`PATTERN_BYTES_MAX`] and [`PATTERN_COMPILED_BYTES_MAX`].
    pub(super) fn compile(pattern: &str) -> Result<Self, EvalError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(exceeded(format!(
                "a regular expression of {} bytes; at most {PATTERN_BYTES_MAX} are allowed",
                pattern.len()
            )));
        }
        let mut builder = RegexBuilder::new(&with_ascii_classes(pattern));
        builder.dfa_size_limit(MATCHER_BYTES_MAX).nest_limit(PATTERN_NESTING_MAX);
        // The crate tells only whether a program fits, not how large it is.
        if let Ok(regex) = builder.size_limit(PATTERN_SMALL_BYTES_MAX).build() {
            return Ok(Self { regex, is_large: false });
        }
        match builder.size_limit(PATTERN_COMPILED_BYTES_MAX).build() {
            Ok(regex) => Ok(Self { regex, is_large: true }),
            Err(regex::Error::CompiledTooBig(_)) => Err(exceeded(format!(
                "the regular expression is larger than {PATTERN_COMPILED_BYTES_MAX} bytes when compiled; repeat less"
            ))),
            Err(error) => Err(EvalError::new(
                EvalErrorReason::BadPattern,
                format!("bad regular expression: {}", last_line(&error.to_string())),
            )),
        }
    }
}

/// CEL takes its regular expressions from RE2, where `\d`, `\w`, `\s` and `\b` are ASCII only. Their Unicode forms
/// would also make large programs of small patterns: `\w{20}` is 1 MB.
fn with_ascii_classes(pattern: &str) -> String {
    let mut ascii = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            ascii.push(character);
            continue;
        }
        match characters.next() {
            Some('d') => ascii.push_str("[0-9]"),
            Some('D') => ascii.push_str("[^0-9]"),
            Some('w') => ascii.push_str("[0-9A-Za-z_]"),
            Some('W') => ascii.push_str("[^0-9A-Za-z_]"),
            Some('s') => ascii.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => ascii.push_str("[^\\t\\n\\f\\r ]"),
            Some('b') => ascii.push_str("(?-u:\\b)"),
            Some(escaped) => ascii.extend(['\\', escaped]),
            None => ascii.push('\\'),
        }
    }
    ascii
}

/// The crate draws a picture of the pattern; its last line says what is wrong.
fn last_line(message: &str) -> &str {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}
