//! Expressions: CEL, checked against the schema of what they read and evaluated within a budget (DESIGN section 3).
//!
//! The text is parsed by the `cel` crate, whose interpreter has no bound of its own; the checker and the evaluator are
//! Quorate's. An evaluation is a function of the expression and the variables: no clock, no randomness, no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

mod budget;
mod check;
mod compare;
mod eval;
mod functions;
mod lower;
mod node;
mod pattern;
mod static_type;
mod syntax;
mod text;
mod time;
mod value;

pub use budget::{
    ALLOCATED_BYTES_MAX, FAILURE_STEPS, MATCHED_BYTES_MAX, PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX,
    PATTERN_LARGE_WEIGHT, PATTERN_SMALL_BYTES_MAX, PATTERNS_MAX, SOURCE_BYTES_MAX, STEPS_MAX, SYNTAX_DEPTH_MAX, Usage,
    VALUE_BYTES_MAX, VALUE_DEPTH_MAX, WORK_BYTES_PER_STEP,
};
pub use static_type::Type;
pub use value::{Key, List, Map, Value};

/// A parsed expression. Cloning is cheap; two are equal when their sources are.
#[derive(Clone)]
pub struct Expression {
    parsed: Arc<Parsed>,
}

struct Parsed {
    source: String,
    root: node::Node,
    paths: BTreeSet<Vec<String>>,
}

impl Expression {
    /// Parses a source of at most [`SOURCE_BYTES_MAX`] bytes, nested at most [`SYNTAX_DEPTH_MAX`] levels deep.
    /// Unknown functions and wrong numbers of arguments are refused here.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        syntax::scan(source)?;
        let root = lower::parse(source)?;
        let mut paths = BTreeSet::new();
        root.collect_paths(&mut paths);
        Ok(Self { parsed: Arc::new(Parsed { source: source.to_owned(), root, paths }) })
    }

    /// The text that was parsed.
    pub fn source(&self) -> &str {
        &self.parsed.source
    }

    /// The type of the result, or the first thing that cannot work: an unknown variable, an unknown field of a closed
    /// object, operands or arguments of the wrong type, a bad regular expression.
    pub fn check(&self, scope: &Scope) -> Result<Type, ExpressionError> {
        check::check(&self.parsed.root, scope)
    }

    /// Checks an expression whose result must be a boolean.
    pub fn check_bool(&self, scope: &Scope) -> Result<(), ExpressionError> {
        match self.check(scope)? {
            Type::Bool | Type::Dyn => Ok(()),
            other => Err(ExpressionError::new(
                format!("the result is {other}; a condition must be a bool, such as a comparison"),
                Some(self.parsed.root.offset),
            )),
        }
    }

    /// Evaluates the expression within the budget.
    pub fn eval(&self, variables: &Variables) -> Result<Value, EvalError> {
        self.eval_metered(variables).0
    }

    /// Evaluates the expression, and says what that has cost, also when it failed.
    pub fn eval_metered(&self, variables: &Variables) -> (Result<Value, EvalError>, Usage) {
        eval::eval(&self.parsed.root, variables)
    }

    /// Evaluates an expression whose result must be a boolean.
    pub fn eval_bool(&self, variables: &Variables) -> Result<bool, EvalError> {
        match self.eval(variables)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::new(
                EvalErrorReason::NotBool,
                format!("the result is {}; a condition must be a bool, such as a comparison", other.type_name()),
            )),
        }
    }

    /// Whether the expression reads this variable, such as `record` or `now`.
    pub fn reads(&self, root: &str) -> bool {
        self.parsed.paths.iter().any(|path| path.first().is_some_and(|name| name == root))
    }

    /// Every qualified name that the expression reads, as far as it is written out: `steps.manager.status` and
    /// `steps['manager'].status` are `["steps", "manager", "status"]`, `record.lines[i].price` is
    /// `["record", "lines"]`.
    pub fn paths(&self) -> &BTreeSet<Vec<String>> {
        &self.parsed.paths
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

/// The variables that an expression may read, with their types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(BTreeMap<String, Type>);

impl Scope {
    /// A scope without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The scope with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.0.insert(name.to_owned(), ty);
        self
    }
}

/// The values of an expression's variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables(BTreeMap<String, Value>);

impl Variables {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a qualified name, as far as it is written out; `None` where there is none.
    pub fn get(&self, path: &[String]) -> Option<&Value> {
        let (root, fields) = path.split_first()?;
        fields.iter().try_fold(self.0.get(root)?, |value, name| match value {
            Value::Map(map) => map.get(&Key::from(name.as_str())),
            _ => None,
        })
    }

    /// Sets a variable, in place of an earlier value.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

/// Why an expression cannot be used: its text is no expression, or it cannot work on what it reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where it is wrong: a byte offset into the source.
    pub offset: Option<usize>,
}

impl ExpressionError {
    fn new(message: impl Into<String>, offset: Option<usize>) -> Self {
        Self { message: message.into(), offset }
    }
}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What kind of failure it is.
    pub reason: EvalErrorReason,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where it is wrong: a byte offset into the source.
    pub offset: Option<usize>,
}

impl EvalError {
    fn new(reason: EvalErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), offset: None }
    }

    fn at(mut self, offset: usize) -> Self {
        self.offset.get_or_insert(offset);
        self
    }
}

/// Kinds of failure of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalErrorReason {
    /// One of the bounds of this module is reached.
    BudgetExceeded,
    /// There is no variable of that name.
    NoSuchVariable,
    /// The object has no such field, or the map no such key.
    NoSuchField,
    /// The operator or function does not take values of these types.
    NoSuchOverload,
    /// An index is outside of a list or text.
    IndexOutOfRange,
    /// A whole number is divided by zero.
    DivisionByZero,
    /// A number, an instant or a duration is out of its range.
    Overflow,
    /// A map is given the same key twice.
    DuplicateKey,
    /// A regular expression cannot be read.
    BadPattern,
    /// A value cannot be converted, such as a text that is no number.
    BadConversion,
    /// The result should be a boolean and is none.
    NotBool,
    /// The value has no JSON form.
    NotJson,
}

impl EvalErrorReason {
    /// The stable name of the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::NoSuchVariable => "NO_SUCH_VARIABLE",
            Self::NoSuchField => "NO_SUCH_FIELD",
            Self::NoSuchOverload => "NO_SUCH_OVERLOAD",
            Self::IndexOutOfRange => "INDEX_OUT_OF_RANGE",
            Self::DivisionByZero => "DIVISION_BY_ZERO",
            Self::Overflow => "OVERFLOW",
            Self::DuplicateKey => "DUPLICATE_KEY",
            Self::BadPattern => "BAD_PATTERN",
            Self::BadConversion => "BAD_CONVERSION",
            Self::NotBool => "NOT_BOOL",
            Self::NotJson => "NOT_JSON",
        }
    }
}
