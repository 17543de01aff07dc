//! The bounds of expressions, and the account that an evaluation is charged to.
//!
//! Expressions come from definitions and run inside the server, so none may take more than 10 ms or hold much memory.
//! Every bound is on something counted, never on a clock, so that an expression which is refused once is refused
//! always. Charges are made before the work they pay for.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use super::pattern::Pattern;
use super::{EvalError, EvalErrorReason};

/// Bytes of an expression's source. Conditions are a line or two; 2 KiB holds thirty lines, and bounds all that follows.
pub const SOURCE_BYTES_MAX: usize = 2048;

/// Levels of nesting in the syntax, chains of operators, selections and calls included, for they nest too. The parser
/// and the evaluator recurse over it: 64 levels fit many times over into the 2 MiB stack of a worker thread, even unoptimised.
pub const SYNTAX_DEPTH_MAX: usize = 64;

/// Evaluation steps: nodes visited, rounds of a loop and blocks of bytes worked on. A step takes some 50 ns
/// optimised, so that this many stay under 10 ms with room for a slow machine; a predicate over a list of
/// several thousand lines fits.
pub const STEPS_MAX: u64 = 50_000;

/// Bytes looked at or copied for one step: 16 is the size that one element of a list counts for.
pub const WORK_BYTES_PER_STEP: u64 = 16;

/// Steps for a failure which `&&`, `||`, `all` or `exists` may set aside: its message has been made by then.
pub const FAILURE_STEPS: u64 = 20;

/// Logical bytes of one value made by an expression: twice the 256 KiB that a message body may have (DESIGN section 6),
/// for numbers count for more here than in JSON.
pub const VALUE_BYTES_MAX: u64 = 512 * 1024;

/// Logical bytes of all values made by one evaluation: two of the largest.
pub const ALLOCATED_BYTES_MAX: u64 = 1024 * 1024;

/// Nesting of a value made by an expression. Values are compared, converted and dropped recursively; JSON schemas
/// of people go ten deep.
pub const VALUE_DEPTH_MAX: u32 = 64;

/// Bytes of a regular expression: enough for an e-mail address or an IBAN, and parsing it stays trivial.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Bytes of a compiled regular expression. Each of its states may be visited for each byte matched: this holds some
/// hundred states, a code of fifty character classes, and refuses counted repeats of counted repeats.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a compiled regular expression that is small, as those which people write are: some thirty states.
pub const PATTERN_SMALL_BYTES_MAX: usize = 2 * 1024;

/// What a byte matched against a larger pattern counts for: as many times more states as it may have.
pub const PATTERN_LARGE_WEIGHT: u64 = (PATTERN_COMPILED_BYTES_MAX / PATTERN_SMALL_BYTES_MAX) as u64;

/// Different regular expressions in one evaluation: each is compiled, which costs up to a millisecond.
pub const PATTERNS_MAX: usize = 4;

/// Bytes of text matched against regular expressions in one evaluation, those against a large pattern counting
/// [`PATTERN_LARGE_WEIGHT`] times: a long description, or a KiB against a large pattern. The worst patterns cost a visit
/// to every state for every byte, a hundred times the work of a usual one, and must fit as well.
pub const MATCHED_BYTES_MAX: u64 = 4096;

/// What an evaluation has used. The same expression over the same variables always uses the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Steps, of at most [`STEPS_MAX`].
    pub steps: u64,
    /// Logical bytes allocated, of at most [`ALLOCATED_BYTES_MAX`].
    pub allocated_bytes: u64,
    /// Weighted bytes of text matched against regular expressions, of at most [`MATCHED_BYTES_MAX`].
    pub matched_bytes: u64,
}

/// The account of one evaluation.
#[derive(Default)]
pub(super) struct Budget {
    usage: Usage,
    patterns: BTreeMap<Arc<str>, Pattern>,
    /// Patterns that were compiled, or turned out to be bad.
    patterns_tried: usize,
}

impl Budget {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Charges for one step.
    pub(super) fn step(&mut self) -> Result<(), EvalError> {
        self.steps(1)
    }

    /// Charges for looking at, or copying, so many bytes.
    pub(super) fn work(&mut self, bytes: u64) -> Result<(), EvalError> {
        self.steps(bytes / WORK_BYTES_PER_STEP)
    }

    /// Charges for a failure that is set aside.
    pub(super) fn failure(&mut self) -> Result<(), EvalError> {
        self.steps(FAILURE_STEPS)
    }

    /// Charges for a part of a value that is still growing: its final size is checked by [`Budget::allocate`] or
    /// against [`VALUE_BYTES_MAX`] by the caller.
    pub(super) fn allocate(&mut self, bytes: u64) -> Result<(), EvalError> {
        if bytes > VALUE_BYTES_MAX {
            return Err(exceeded(format!(
                "it would make a value of {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed"
            )));
        }
        let allocated_bytes = self.usage.allocated_bytes.saturating_add(bytes);
        if allocated_bytes > ALLOCATED_BYTES_MAX {
            return Err(exceeded(format!("it would allocate more than {ALLOCATED_BYTES_MAX} bytes in all")));
        }
        self.usage.allocated_bytes = allocated_bytes;
        Ok(())
    }

    /// Charges for matching a text, and hands out the compiled pattern, which is compiled once an evaluation.
    pub(super) fn pattern(&mut self, pattern: &Arc<str>, text_bytes: u64) -> Result<Regex, EvalError> {
        let compiled = match self.patterns.get(pattern) {
            Some(compiled) => compiled.clone(),
            None => self.compile(pattern)?,
        };
        let weight = if compiled.is_large { PATTERN_LARGE_WEIGHT } else { 1 };
        let weighted_bytes = text_bytes.saturating_mul(weight);
        let matched_bytes = self.usage.matched_bytes.saturating_add(weighted_bytes);
        if matched_bytes > MATCHED_BYTES_MAX {
            return Err(exceeded(format!(
                "it would match more than {} bytes of text against regular expressions as large as this",
                MATCHED_BYTES_MAX / weight
            )));
        }
        self.usage.matched_bytes = matched_bytes;
        self.steps(weighted_bytes)?;
        Ok(compiled.regex)
    }

    fn compile(&mut self, pattern: &Arc<str>) -> Result<Pattern, EvalError> {
        if self.patterns_tried == PATTERNS_MAX {
            return Err(exceeded(format!("it uses more than {PATTERNS_MAX} different regular expressions")));
        }
        self.patterns_tried += 1;
        let compiled = Pattern::compile(pattern)?;
        self.patterns.insert(Arc::clone(pattern), compiled.clone());
        Ok(compiled)
    }

    fn steps(&mut self, count: u64) -> Result<(), EvalError> {
        let steps = self.usage.steps.saturating_add(count);
        if steps > STEPS_MAX {
            return Err(exceeded(format!("it would take more than {STEPS_MAX} steps")));
        }
        self.usage.steps = steps;
        Ok(())
    }
}

pub(super) fn exceeded(what: impl std::fmt::Display) -> EvalError {
    EvalError::new(EvalErrorReason::BudgetExceeded, format!("the expression exceeds its budget: {what}"))
}
