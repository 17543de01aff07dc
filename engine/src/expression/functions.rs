//! The functions of expressions: one table of signatures, which the checker reads and which explains what would be
//! right, and the calls.

use std::fmt;
use std::sync::Arc;

use super::budget::Budget;
use super::compare::compare;
use super::static_type::Type;
use super::value::{VALUE_BYTES, Value, format_duration};
use super::{EvalError, EvalErrorReason, eval, text, time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Bool,
    Contains,
    Double,
    Duration,
    Dyn,
    EndsWith,
    Get(time::Part),
    IndexOf,
    Int,
    Join,
    LowerAscii,
    Matches,
    Max,
    Min,
    Replace,
    Size,
    Split,
    StartsWith,
    String,
    Substring,
    Sum,
    Timestamp,
    Trim,
    UpperAscii,
}

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List,
    Map,
}

/// One form of a function.
pub(super) struct Signature {
    name: &'static str,
    pub(super) function: Function,
    style: Style,
    pub(super) parameters: &'static [Kind],
    result: Returns,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `text.trim()`
    Method,
    /// `int(text)`
    Global,
    /// `text.size()` and `size(text)`
    Either,
}

#[derive(Clone, Copy)]
enum Returns {
    Bool,
    Int,
    Double,
    String,
    Strings,
    Timestamp,
    Duration,
    /// An element of the first argument.
    Element,
    Dyn,
}

const fn signature(
    name: &'static str,
    function: Function,
    style: Style,
    parameters: &'static [Kind],
    result: Returns,
) -> Signature {
    Signature { name, function, style, parameters, result }
}

#[rustfmt::skip]
static SIGNATURES: &[Signature] = {
    use {Function as F, Kind as K, Returns as R, Style::{Either, Global, Method}, time::Part};
    &[
        signature("size", F::Size, Either, &[K::String], R::Int),
        signature("size", F::Size, Either, &[K::Bytes], R::Int),
        signature("size", F::Size, Either, &[K::List], R::Int),
        signature("size", F::Size, Either, &[K::Map], R::Int),
        signature("contains", F::Contains, Method, &[K::String, K::String], R::Bool),
        signature("startsWith", F::StartsWith, Method, &[K::String, K::String], R::Bool),
        signature("endsWith", F::EndsWith, Method, &[K::String, K::String], R::Bool),
        signature("matches", F::Matches, Either, &[K::String, K::String], R::Bool),
        signature("lowerAscii", F::LowerAscii, Method, &[K::String], R::String),
        signature("upperAscii", F::UpperAscii, Method, &[K::String], R::String),
        signature("trim", F::Trim, Method, &[K::String], R::String),
        signature("split", F::Split, Method, &[K::String, K::String], R::Strings),
        signature("join", F::Join, Method, &[K::List], R::String),
        signature("join", F::Join, Method, &[K::List, K::String], R::String),
        signature("replace", F::Replace, Method, &[K::String, K::String, K::String], R::String),
        signature("substring", F::Substring, Method, &[K::String, K::Int], R::String),
        signature("substring", F::Substring, Method, &[K::String, K::Int, K::Int], R::String),
        signature("indexOf", F::IndexOf, Method, &[K::String, K::String], R::Int),
        signature("int", F::Int, Global, &[K::Int], R::Int),
        signature("int", F::Int, Global, &[K::Double], R::Int),
        signature("int", F::Int, Global, &[K::String], R::Int),
        signature("int", F::Int, Global, &[K::Timestamp], R::Int),
        signature("double", F::Double, Global, &[K::Double], R::Double),
        signature("double", F::Double, Global, &[K::Int], R::Double),
        signature("double", F::Double, Global, &[K::String], R::Double),
        signature("string", F::String, Global, &[K::String], R::String),
        signature("string", F::String, Global, &[K::Bool], R::String),
        signature("string", F::String, Global, &[K::Int], R::String),
        signature("string", F::String, Global, &[K::Double], R::String),
        signature("string", F::String, Global, &[K::Bytes], R::String),
        signature("string", F::String, Global, &[K::Timestamp], R::String),
        signature("string", F::String, Global, &[K::Duration], R::String),
        signature("bool", F::Bool, Global, &[K::Bool], R::Bool),
        signature("bool", F::Bool, Global, &[K::String], R::Bool),
        signature("timestamp", F::Timestamp, Global, &[K::String], R::Timestamp),
        signature("timestamp", F::Timestamp, Global, &[K::Timestamp], R::Timestamp),
        signature("timestamp", F::Timestamp, Global, &[K::Int], R::Timestamp),
        signature("duration", F::Duration, Global, &[K::String], R::Duration),
        signature("duration", F::Duration, Global, &[K::Duration], R::Duration),
        signature("dyn", F::Dyn, Global, &[K::Any], R::Dyn),
        signature("min", F::Min, Either, &[K::List], R::Element),
        signature("max", F::Max, Either, &[K::List], R::Element),
        signature("sum", F::Sum, Either, &[K::List], R::Element),
        signature("getFullYear", F::Get(Part::FullYear), Method, &[K::Timestamp], R::Int),
        signature("getMonth", F::Get(Part::Month), Method, &[K::Timestamp], R::Int),
        signature("getDate", F::Get(Part::Date), Method, &[K::Timestamp], R::Int),
        signature("getDayOfMonth", F::Get(Part::DayOfMonth), Method, &[K::Timestamp], R::Int),
        signature("getDayOfWeek", F::Get(Part::DayOfWeek), Method, &[K::Timestamp], R::Int),
        signature("getDayOfYear", F::Get(Part::DayOfYear), Method, &[K::Timestamp], R::Int),
        signature("getHours", F::Get(Part::Hours), Method, &[K::Timestamp], R::Int),
        signature("getHours", F::Get(Part::Hours), Method, &[K::Duration], R::Int),
        signature("getMinutes", F::Get(Part::Minutes), Method, &[K::Timestamp], R::Int),
        signature("getMinutes", F::Get(Part::Minutes), Method, &[K::Duration], R::Int),
        signature("getSeconds", F::Get(Part::Seconds), Method, &[K::Timestamp], R::Int),
        signature("getSeconds", F::Get(Part::Seconds), Method, &[K::Duration], R::Int),
        signature("getMilliseconds", F::Get(Part::Milliseconds), Method, &[K::Timestamp], R::Int),
        signature("getMilliseconds", F::Get(Part::Milliseconds), Method, &[K::Duration], R::Int),
    ]
};

/// The function that a call names, or what is wrong with the call.
pub(super) fn find_function(name: &str, method: bool, arguments: usize) -> Result<Function, String> {
    let named: Vec<&Signature> = SIGNATURES.iter().filter(|signature| signature.name == name).collect();
    let unwanted = if method { Style::Global } else { Style::Method };
    let fitting = named.iter().find(|signature| signature.style != unwanted && signature.parameters.len() == arguments);
    match (fitting, named.as_slice()) {
        (Some(signature), _) => Ok(signature.function),
        (None, []) if matches!(name, "has" | "all" | "exists" | "exists_one" | "map" | "filter") => Err(format!(
            "`{name}` is written `{}`",
            if name == "has" { "has(object.field)".to_owned() } else { format!("list.{name}(element, …)") }
        )),
        (None, []) => Err(format!("there is no function `{name}`")),
        (None, named) => Err(format!("`{name}` is written {}", forms(named.iter().copied()))),
    }
}

/// The type of a call with arguments of these types, or what is wrong with it.
pub(super) fn check_call(function: Function, arguments: &[Type]) -> Result<Type, String> {
    let accepting = signatures_of(function).find(|signature| {
        signature.parameters.len() == arguments.len()
            && signature.parameters.iter().zip(arguments).all(|(kind, ty)| kind.accepts(ty))
    });
    let signature = accepting.ok_or_else(|| refusal(function, arguments.iter()))?;
    // Of a dynamic argument it is not known which form is meant; all forms return the same.
    match (signature.result, arguments.first()) {
        (Returns::Bool, _) => Ok(Type::Bool),
        (Returns::Int, _) => Ok(Type::Int),
        (Returns::Double, _) => Ok(Type::Double),
        (Returns::String, _) => Ok(Type::String),
        (Returns::Strings, _) => Ok(Type::List(Arc::new(Type::String))),
        (Returns::Timestamp, _) => Ok(Type::Timestamp),
        (Returns::Duration, _) => Ok(Type::Duration),
        (Returns::Element, Some(Type::List(element))) => check_element(signature.name, element),
        (Returns::Element | Returns::Dyn, _) => Ok(Type::Dyn),
    }
}

fn check_element(name: &str, element: &Type) -> Result<Type, String> {
    match element {
        Type::Dyn | Type::Int | Type::Double => Ok(element.clone()),
        other => Err(format!("`{name}` takes a list of numbers, not of {other}")),
    }
}

/// Calls a function. Texts are charged for before anything reads them, those that are searched for included.
pub(super) fn call(function: Function, arguments: &[Value], budget: &mut Budget) -> Result<Value, EvalError> {
    for (position, argument) in arguments.iter().enumerate() {
        // Of a text whose start or end is asked for, only as much is read as there is of the other.
        let is_read = position > 0 || !matches!(function, Function::StartsWith | Function::EndsWith);
        if is_read && let Value::String(_) | Value::Bytes(_) = argument {
            budget.work(argument.logical_bytes())?;
        }
    }
    match (function, arguments) {
        (Function::Dyn, [value])
        | (Function::Int, [value @ Value::Int(_)])
        | (Function::Double, [value @ Value::Double(_)])
        | (Function::String, [value @ Value::String(_)])
        | (Function::Bool, [value @ Value::Bool(_)])
        | (Function::Timestamp, [value @ Value::Timestamp(_)])
        | (Function::Duration, [value @ Value::Duration(_)]) => Ok(value.clone()),
        (Function::Size, [Value::String(text)]) => eval::int(text.chars().count()),
        (Function::Size, [Value::Bytes(bytes)]) => eval::int(bytes.len()),
        (Function::Size, [Value::List(list)]) => eval::int(list.len()),
        (Function::Size, [Value::Map(map)]) => eval::int(map.len()),
        (Function::Int, [value]) => to_int(value),
        (Function::Double, [value]) => to_double(value),
        (Function::String, [value]) => to_string(value, budget),
        (Function::Bool, [Value::String(text)]) => match text.as_ref() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(bad_conversion(text, "a bool: `true` or `false`")),
        },
        (Function::Timestamp, [value]) => time::to_timestamp(value),
        (Function::Duration, [value]) => time::to_duration(value),
        (Function::Get(part), [value]) => time::get(part, value),
        (Function::Min, [Value::List(list)]) => extreme(function, list, std::cmp::Ordering::Less, budget),
        (Function::Max, [Value::List(list)]) => extreme(function, list, std::cmp::Ordering::Greater, budget),
        (Function::Sum, [Value::List(list)]) => sum(list, budget),
        (Function::Join, [Value::List(list)]) => text::join(list, "", budget),
        (Function::Join, [Value::List(list), Value::String(separator)]) => text::join(list, separator, budget),
        (_, [Value::String(text), arguments @ ..]) => text::call(function, text, arguments, budget),
        _ => Err(no_such_overload(function, arguments)),
    }
}

/// The error for arguments that a function does not take. Made once an element in the worst case, so that it is kept
/// short; the checker says which forms there are.
pub(super) fn no_such_overload(function: Function, arguments: &[Value]) -> EvalError {
    let types: Vec<&str> = arguments.iter().map(Value::type_name).collect();
    EvalError::new(
        EvalErrorReason::NoSuchOverload,
        format!("`{}` does not take ({}); convert them first", name_of(function), types.join(", ")),
    )
}

/// The error for a text that cannot be read as what it should be.
pub(super) fn bad_conversion(text: &str, what: &str) -> EvalError {
    EvalError::new(EvalErrorReason::BadConversion, format!("`{}` is not {what}", shown(text)))
}

/// As much of a text as is shown in a message: names, numbers and instants are shorter.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 40;
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn to_int(value: &Value) -> Result<Value, EvalError> {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked, and CEL cuts off the fraction")]
        Value::Double(number) => {
            let range = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
            if range.contains(number) { Ok(Value::Int(*number as i64)) } else { Err(eval::overflow("int")) }
        }
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| bad_conversion(text, "a whole number")),
        Value::Timestamp(timestamp) => Ok(Value::Int(timestamp.as_second())),
        other => Err(no_such_overload(Function::Int, std::slice::from_ref(other))),
    }
}

fn to_double(value: &Value) -> Result<Value, EvalError> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "CEL converts to the nearest double")]
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| bad_conversion(text, "a number")),
        other => Err(no_such_overload(Function::Double, std::slice::from_ref(other))),
    }
}

fn to_string(value: &Value, budget: &mut Budget) -> Result<Value, EvalError> {
    /// Bytes of the longest number, 1e308 written out with its sign.
    const NUMBER_BYTES_MAX: u64 = 330;
    match value {
        Value::Bytes(bytes) => budget.allocate(VALUE_BYTES + bytes.len() as u64)?,
        Value::Double(_) => budget.allocate(VALUE_BYTES + NUMBER_BYTES_MAX)?,
        _ => budget.allocate(2 * VALUE_BYTES)?,
    }
    Ok(match value {
        Value::Bool(value) => value.to_string().into(),
        Value::Int(number) => number.to_string().into(),
        // Rust writes whole doubles without a fraction, as people write amounts: 50.0 is `50`.
        Value::Double(number) => number.to_string().into(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => return Err(EvalError::new(EvalErrorReason::BadConversion, "the bytes are not UTF-8")),
        },
        Value::Timestamp(timestamp) => timestamp.to_string().into(),
        Value::Duration(duration) => format_duration(*duration).into(),
        other => return Err(no_such_overload(Function::String, std::slice::from_ref(other))),
    })
}

fn extreme(
    function: Function,
    list: &[Value],
    wanted: std::cmp::Ordering,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let mut best: Option<&Value> = None;
    for value in list {
        budget.step()?;
        if !matches!(value, Value::Int(_) | Value::Double(_)) {
            return Err(not_numbers(value));
        }
        if best.is_none_or(|best| compare(value, best) == Some(wanted)) {
            best = Some(value);
        }
    }
    best.cloned().ok_or_else(|| {
        let name = name_of(function);
        EvalError::new(EvalErrorReason::IndexOutOfRange, format!("`{name}` of an empty list; check its size() first"))
    })
}

/// The sum of a list of numbers of one type; that of none is a double, as the numbers of a record are.
fn sum(list: &[Value], budget: &mut Budget) -> Result<Value, EvalError> {
    let mut total = match list.first() {
        Some(Value::Int(_)) => Value::Int(0),
        _ => Value::Double(0.0),
    };
    for value in list {
        budget.step()?;
        total = match (&total, value) {
            (Value::Int(total), Value::Int(value)) => {
                total.checked_add(*value).map(Value::Int).ok_or_else(|| eval::overflow("int"))?
            }
            (Value::Double(total), Value::Double(value)) => Value::Double(total + value),
            _ => return Err(not_numbers(value)),
        };
    }
    Ok(total)
}

fn not_numbers(value: &Value) -> EvalError {
    EvalError::new(
        EvalErrorReason::NoSuchOverload,
        format!("a list of numbers of one type is needed; one element is {}", value.type_name()),
    )
}

fn signatures_of(function: Function) -> impl Iterator<Item = &'static Signature> {
    SIGNATURES.iter().filter(move |signature| signature.function == function)
}

fn name_of(function: Function) -> &'static str {
    signatures_of(function).next().map_or("", |signature| signature.name)
}

fn refusal(function: Function, found: impl Iterator<Item = impl fmt::Display>) -> String {
    let name = name_of(function);
    let found: Vec<String> = found.map(|ty| ty.to_string()).collect();
    format!("`{name}` does not take ({}); it is written {}", found.join(", "), forms(signatures_of(function)))
}

fn forms(signatures: impl Iterator<Item = &'static Signature>) -> String {
    let mut forms: Vec<String> = signatures.map(|signature| format!("`{signature}`")).collect();
    forms.dedup();
    forms.join(" or ")
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&str> = self.parameters.iter().map(|kind| kind.as_str()).collect();
        match (self.style, parameters.as_slice()) {
            (Style::Method | Style::Either, [receiver, rest @ ..]) => {
                write!(f, "{receiver}.{}({})", self.name, rest.join(", "))
            }
            (_, all) => write!(f, "{}({})", self.name, all.join(", ")),
        }
    }
}

impl Kind {
    fn accepts(self, ty: &Type) -> bool {
        match ty {
            Type::Dyn => true,
            _ if self == Self::Any => true,
            Type::Null => false,
            Type::Bool => self == Self::Bool,
            Type::Int => self == Self::Int,
            Type::Double => self == Self::Double,
            Type::String => self == Self::String,
            Type::Bytes => self == Self::Bytes,
            Type::Timestamp => self == Self::Timestamp,
            Type::Duration => self == Self::Duration,
            Type::List(_) => self == Self::List,
            Type::Map(_) | Type::Object { .. } => self == Self::Map,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Map => "map",
        }
    }
}
