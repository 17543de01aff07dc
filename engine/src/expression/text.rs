//! Functions on texts. Positions count characters, not bytes; every result is charged for before it is made.

use std::sync::Arc;

use super::budget::Budget;
use super::functions::{Function, no_such_overload};
use super::value::{VALUE_BYTES, Value};
use super::{EvalError, EvalErrorReason, eval};

/// Calls a function whose first argument is a text.
pub(super) fn call(
    function: Function,
    text: &Arc<str>,
    arguments: &[Value],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    match (function, arguments) {
        (Function::Contains, [Value::String(part)]) => Ok(Value::Bool(text.contains(part.as_ref()))),
        (Function::StartsWith, [Value::String(part)]) => Ok(Value::Bool(text.starts_with(part.as_ref()))),
        (Function::EndsWith, [Value::String(part)]) => Ok(Value::Bool(text.ends_with(part.as_ref()))),
        (Function::Matches, [Value::String(pattern)]) => {
            Ok(Value::Bool(budget.pattern(pattern, text.len() as u64)?.is_match(text)))
        }
        (Function::IndexOf, [Value::String(part)]) => match text.find(part.as_ref()) {
            Some(at) => eval::int(text[..at].chars().count()),
            None => Ok(Value::Int(-1)),
        },
        (Function::LowerAscii, []) => {
            allocate_text(budget, text.len())?;
            Ok(text.to_ascii_lowercase().into())
        }
        (Function::UpperAscii, []) => {
            allocate_text(budget, text.len())?;
            Ok(text.to_ascii_uppercase().into())
        }
        (Function::Trim, []) => {
            let trimmed = text.trim();
            allocate_text(budget, trimmed.len())?;
            Ok(trimmed.into())
        }
        (Function::Substring, [Value::Int(start)]) => substring(text, *start, None, budget),
        (Function::Substring, [Value::Int(start), Value::Int(end)]) => substring(text, *start, Some(*end), budget),
        (Function::Split, [Value::String(separator)]) => split(text, separator, budget),
        (Function::Replace, [Value::String(from), Value::String(to)]) => replace(text, from, to, budget),
        _ => {
            let arguments: Vec<Value> =
                std::iter::once(Value::String(Arc::clone(text))).chain(arguments.iter().cloned()).collect();
            Err(no_such_overload(function, &arguments))
        }
    }
}

/// Joins a list of texts.
pub(super) fn join(list: &[Value], separator: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    let mut bytes = separator.len().saturating_mul(list.len().saturating_sub(1));
    let mut parts = Vec::new();
    for value in list {
        budget.step()?;
        let Value::String(part) = value else {
            return Err(EvalError::new(
                EvalErrorReason::NoSuchOverload,
                format!("`join` takes a list of string; one element is {}; use map(x, string(x))", value.type_name()),
            ));
        };
        bytes = bytes.saturating_add(part.len());
        parts.push(part.as_ref());
    }
    allocate_text(budget, bytes)?;
    budget.work(bytes as u64)?;
    Ok(parts.join(separator).into())
}

/// Concatenates two texts.
pub(super) fn concatenate(left: &str, right: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    let bytes = left.len().saturating_add(right.len());
    allocate_text(budget, bytes)?;
    budget.work(bytes as u64)?;
    Ok([left, right].concat().into())
}

fn split(text: &str, separator: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    // An empty separator splits into characters; the standard library adds an empty text at both ends.
    let pieces = if separator.is_empty() { text.chars().count() } else { text.matches(separator).count() + 1 };
    let pieces_bytes = VALUE_BYTES.saturating_mul(pieces as u64);
    budget.work(pieces_bytes)?;
    budget.allocate((VALUE_BYTES + text.len() as u64).saturating_add(pieces_bytes))?;
    Ok(Value::list(if separator.is_empty() {
        text.chars().map(|character| character.encode_utf8(&mut [0; 4]).to_owned().into()).collect()
    } else {
        text.split(separator).map(Value::from).collect()
    }))
}

fn replace(text: &str, from: &str, to: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    let matches = text.matches(from).count();
    let bytes = text.len() - matches * from.len();
    let bytes = bytes.saturating_add(matches.saturating_mul(to.len()));
    allocate_text(budget, bytes)?;
    budget.work(bytes as u64)?;
    Ok(text.replace(from, to).into())
}

fn substring(text: &str, start: i64, end: Option<i64>, budget: &mut Budget) -> Result<Value, EvalError> {
    let slice = position(text, start)
        .zip(end.map_or(Some(text.len()), |end| position(text, end)))
        .and_then(|(start, end)| text.get(start..end))
        .ok_or_else(|| {
            EvalError::new(
                EvalErrorReason::IndexOutOfRange,
                format!("the text has {} characters; the positions are outside of it", text.chars().count()),
            )
        })?;
    allocate_text(budget, slice.len())?;
    Ok(slice.into())
}

/// The byte at which a character starts, or the end of the text for the position after the last.
fn position(text: &str, characters: i64) -> Option<usize> {
    let characters = usize::try_from(characters).ok()?;
    let ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    ends.into_iter().nth(characters)
}

fn allocate_text(budget: &mut Budget, bytes: usize) -> Result<(), EvalError> {
    budget.allocate(VALUE_BYTES.saturating_add(bytes as u64))
}
