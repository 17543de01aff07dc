//! Equality and order, across the types of numbers and within the budget.

use std::cmp::Ordering;
use std::sync::Arc;

use super::EvalError;
use super::budget::Budget;
use super::value::Value;

/// Whether two values are equal, as CEL has it: numbers by what they are worth, values of different types never.
pub(super) fn equals(left: &Value, right: &Value, budget: &mut Budget) -> Result<bool, EvalError> {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                budget.step()?;
                if !equals(left, right, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.iter().zip(right.iter()) {
                budget.step()?;
                budget.work(left_key.logical_bytes().min(right_key.logical_bytes()))?;
                if left_key != right_key || !equals(left, right, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Null, Value::Null) => Ok(true),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.work(left.len().min(right.len()) as u64)?;
            Ok(left == right)
        }
        (Value::String(left), Value::String(right)) => {
            budget.work(left.len().min(right.len()) as u64)?;
            Ok(Arc::ptr_eq(left, right) || left == right)
        }
        _ => Ok(compare(left, right) == Some(Ordering::Equal)),
    }
}

/// Whether there is an order on values of these types.
pub(super) fn are_ordered(left: &Value, right: &Value) -> bool {
    matches!(
        (left, right),
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_))
            | (Value::Bool(_), Value::Bool(_))
            | (Value::String(_), Value::String(_))
            | (Value::Bytes(_), Value::Bytes(_))
            | (Value::Timestamp(_), Value::Timestamp(_))
            | (Value::Duration(_), Value::Duration(_))
    )
}

/// The order of two scalars; none between types, nor with "not a number". Texts are not charged for here.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Double(right)) => compare_mixed(*left, *right),
        (Value::Double(left), Value::Int(right)) => compare_mixed(*right, *left).map(Ordering::reverse),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Exact also where an integer has no double: the doubles around are whole there, so that the integer parts decide.
#[expect(clippy::cast_possible_truncation, reason = "the double is within the range of integers")]
fn compare_mixed(left: i64, right: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if right.is_nan() {
        None
    } else if right >= LIMIT {
        Some(Ordering::Less)
    } else if right < -LIMIT {
        Some(Ordering::Greater)
    } else {
        let fraction = if right.fract() > 0.0 {
            Ordering::Less
        } else if right.fract() < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        };
        Some(left.cmp(&(right.trunc() as i64)).then(fraction))
    }
}
