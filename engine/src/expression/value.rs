//! Values of expressions. They are shared, not copied, and know their logical size: a string that is in a list ten
//! times counts ten times, so that sharing hides no cost.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::static_type::Type;
use super::{EvalError, EvalErrorReason};

/// What a value counts for besides its text and elements: about what it takes in memory.
pub(super) const VALUE_BYTES: u64 = 16;

/// Integers beyond this are not exact as doubles, so a double beyond it is written to JSON as one.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// A value of an expression. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON's null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; those of a record are doubles unless its schema says `integer`.
    Double(f64),
    /// A text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// An instant.
    Timestamp(Timestamp),
    /// A span of time.
    Duration(SignedDuration),
    /// A list.
    List(Arc<List>),
    /// A map, or a JSON object.
    Map(Arc<Map>),
}

impl Value {
    /// A list of values.
    pub fn list(values: Vec<Value>) -> Self {
        Self::List(Arc::new(List::new(values)))
    }

    /// A map of values by key.
    pub fn map(entries: BTreeMap<Key, Value>) -> Self {
        Self::Map(Arc::new(Map::new(entries)))
    }

    /// The value of a JSON document. Numbers are doubles unless the type says `int`; texts are texts unless the type
    /// says that they are timestamps or durations and they can be read as such.
    pub fn from_json(json: &serde_json::Value, ty: &Type) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => from_number(number, ty),
            serde_json::Value::String(text) => match ty {
                Type::Timestamp => text.parse().map_or_else(|_| text.as_str().into(), Self::Timestamp),
                Type::Duration => text.parse().map_or_else(|_| text.as_str().into(), Self::Duration),
                _ => text.as_str().into(),
            },
            serde_json::Value::Array(elements) => {
                let element_type = match ty {
                    Type::List(element) => element,
                    _ => &Type::Dyn,
                };
                Self::list(elements.iter().map(|element| Self::from_json(element, element_type)).collect())
            }
            serde_json::Value::Object(fields) => Self::map(
                fields
                    .iter()
                    .map(|(name, field)| {
                        let field_type = match ty {
                            Type::Object { fields, .. } => fields.get(name).unwrap_or(&Type::Dyn),
                            Type::Map(value) => value,
                            _ => &Type::Dyn,
                        };
                        (Key::from(name.as_str()), Self::from_json(field, field_type))
                    })
                    .collect(),
            ),
        }
    }

    /// The JSON form: whole doubles below 2^53 as integers, timestamps as RFC 3339, durations as seconds (`1.5s`).
    /// Bytes, infinities and "not a number" have none and are refused.
    pub fn to_json(&self) -> Result<serde_json::Value, EvalError> {
        Ok(match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Double(value) => double_to_json(*value)?,
            Self::String(text) => text.as_ref().into(),
            Self::Bytes(_) => {
                let message = "bytes have no JSON form; convert them with string()";
                return Err(EvalError::new(EvalErrorReason::NotJson, message));
            }
            Self::Timestamp(timestamp) => timestamp.to_string().into(),
            Self::Duration(duration) => format_duration(*duration).into(),
            Self::List(list) => list.iter().map(Self::to_json).collect::<Result<Vec<_>, _>>()?.into(),
            Self::Map(map) => map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), value.to_json()?)))
                .collect::<Result<serde_json::Map<_, _>, EvalError>>()?
                .into(),
        })
    }

    /// The name of the value's type, as [`Type`] writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "timestamp",
            Self::Duration(_) => "duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// Bytes that the value counts for in a budget, as if nothing in it were shared.
    pub(super) fn logical_bytes(&self) -> u64 {
        match self {
            Self::String(text) => VALUE_BYTES + text.len() as u64,
            Self::Bytes(bytes) => VALUE_BYTES + bytes.len() as u64,
            Self::List(list) => list.logical_bytes,
            Self::Map(map) => map.logical_bytes,
            _ => VALUE_BYTES,
        }
    }

    /// Levels of lists and maps; a scalar has none.
    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            _ => 0,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

/// The elements of a list value.
#[derive(Clone, Debug)]
pub struct List {
    elements: Vec<Value>,
    logical_bytes: u64,
    depth: u32,
}

impl List {
    fn new(elements: Vec<Value>) -> Self {
        let logical_bytes =
            elements.iter().fold(VALUE_BYTES, |bytes, element| bytes.saturating_add(element.logical_bytes()));
        let depth = 1 + elements.iter().map(Value::depth).max().unwrap_or(0);
        Self { elements, logical_bytes, depth }
    }
}

impl Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.elements
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.elements == other.elements
    }
}

/// The entries of a map value.
#[derive(Clone, Debug)]
pub struct Map {
    entries: BTreeMap<Key, Value>,
    logical_bytes: u64,
    depth: u32,
}

impl Map {
    fn new(entries: BTreeMap<Key, Value>) -> Self {
        let logical_bytes = entries.iter().fold(VALUE_BYTES, |bytes, (key, value)| {
            bytes.saturating_add(key.logical_bytes()).saturating_add(value.logical_bytes())
        });
        let depth = 1 + entries.values().map(Value::depth).max().unwrap_or(0);
        Self { entries, logical_bytes, depth }
    }

    pub(super) fn field(&self, name: &Arc<str>) -> Option<&Value> {
        self.entries.get(&Key::String(Arc::clone(name)))
    }
}

impl Deref for Map {
    type Target = BTreeMap<Key, Value>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

/// A key of a map; those of a JSON object are texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `{true: …}`
    Bool(bool),
    /// `{1: …}`
    Int(i64),
    /// `{'a': …}`
    String(Arc<str>),
}

impl Key {
    /// The key that a value stands for; a whole double finds the integer.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Double(value) => whole(*value).map(Self::Int),
            Value::String(text) => Some(Self::String(Arc::clone(text))),
            _ => None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::String(text) => Value::String(Arc::clone(text)),
        }
    }

    pub(super) fn logical_bytes(&self) -> u64 {
        match self {
            Self::String(text) => VALUE_BYTES + text.len() as u64,
            _ => VALUE_BYTES,
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

/// The integer that a double is, if it is one in the exact range.
#[expect(clippy::cast_possible_truncation, reason = "the value is whole and within ±2^53")]
pub(super) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX).then_some(value as i64)
}

/// A duration in seconds, as protobuf's JSON mapping writes it: `5400s`, `-1.5s`.
pub(super) fn format_duration(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    let (seconds, nanoseconds) = (duration.as_secs().unsigned_abs(), duration.subsec_nanos().unsigned_abs());
    if nanoseconds == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn from_number(number: &serde_json::Number, ty: &Type) -> Value {
    let double = number.as_f64().unwrap_or(f64::NAN);
    if matches!(ty, Type::Int)
        && let Some(integer) = number.as_i64().or_else(|| whole(double))
    {
        return Value::Int(integer);
    }
    Value::Double(double)
}

fn double_to_json(value: f64) -> Result<serde_json::Value, EvalError> {
    if let Some(integer) = whole(value).filter(|_| value.abs() < EXACT_INTEGER_MAX) {
        return Ok(integer.into());
    }
    serde_json::Number::from_f64(value)
        .map(Into::into)
        .ok_or_else(|| EvalError::new(EvalErrorReason::NotJson, format!("the number {value} has no JSON form")))
}
