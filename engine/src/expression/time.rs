//! Instants and durations, in UTC only: other time zones would make results depend on the host's database.

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::functions::{Function, bad_conversion, no_such_overload};
use super::value::Value;
use super::{EvalError, eval};

/// Bytes of a text that may be an instant or a duration: RFC 3339 with nanoseconds has 35.
const TIME_BYTES_MAX: usize = 64;

/// What a getter gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// A part of an instant in UTC, counted as in CEL (months, days of a year and `getDayOfMonth` from 0, Sunday is 0); or
/// the whole of a duration in such units, but the milliseconds within the second.
pub(super) fn get(part: Part, value: &Value) -> Result<Value, EvalError> {
    let number = match value {
        Value::Timestamp(timestamp) => {
            let date_time = Offset::UTC.to_datetime(*timestamp);
            i64::from(match part {
                Part::FullYear => date_time.year(),
                Part::Month => i16::from(date_time.month()) - 1,
                Part::Date => i16::from(date_time.day()),
                Part::DayOfMonth => i16::from(date_time.day()) - 1,
                Part::DayOfWeek => i16::from(date_time.weekday().to_sunday_zero_offset()),
                Part::DayOfYear => date_time.day_of_year() - 1,
                Part::Hours => i16::from(date_time.hour()),
                Part::Minutes => i16::from(date_time.minute()),
                Part::Seconds => i16::from(date_time.second()),
                Part::Milliseconds => date_time.millisecond(),
            })
        }
        Value::Duration(duration) => match part {
            Part::Hours => duration.as_hours(),
            Part::Minutes => duration.as_mins(),
            Part::Seconds => duration.as_secs(),
            Part::Milliseconds => i64::from(duration.subsec_millis()),
            _ => return Err(no_such_overload(Function::Get(part), std::slice::from_ref(value))),
        },
        _ => return Err(no_such_overload(Function::Get(part), std::slice::from_ref(value))),
    };
    Ok(Value::Int(number))
}

/// `timestamp(…)` of an RFC 3339 text, or of seconds since 1970.
pub(super) fn to_timestamp(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::String(text) => bounded(text)
            .and_then(|text| text.parse().ok())
            .map(Value::Timestamp)
            .ok_or_else(|| bad_conversion(text, "an instant such as `2026-12-01T09:00:00Z`")),
        Value::Int(seconds) => {
            Timestamp::from_second(*seconds).map(Value::Timestamp).map_err(|_| eval::overflow("timestamp"))
        }
        other => Err(no_such_overload(Function::Timestamp, std::slice::from_ref(other))),
    }
}

/// `duration(…)` of a text such as `1h30m` or `1.5s`.
pub(super) fn to_duration(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::String(text) => bounded(text)
            .and_then(|text| text.parse::<SignedDuration>().ok())
            .map(Value::Duration)
            .ok_or_else(|| bad_conversion(text, "a duration such as `1h30m`")),
        other => Err(no_such_overload(Function::Duration, std::slice::from_ref(other))),
    }
}

/// `+` where one operand is a duration or an instant.
pub(super) fn add(left: &Value, right: &Value) -> Option<Result<Value, EvalError>> {
    Some(match (left, right) {
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => {
            at.checked_add(*by).map(Value::Timestamp).map_err(|_| eval::overflow("timestamp"))
        }
        (Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(*right).map(Value::Duration).ok_or_else(|| eval::overflow("duration"))
        }
        _ => return None,
    })
}

/// `-` where one operand is a duration or an instant.
pub(super) fn subtract(left: &Value, right: &Value) -> Option<Result<Value, EvalError>> {
    Some(match (left, right) {
        (Value::Timestamp(left), Value::Timestamp(right)) => Ok(Value::Duration(left.duration_since(*right))),
        (Value::Timestamp(at), Value::Duration(by)) => {
            at.checked_sub(*by).map(Value::Timestamp).map_err(|_| eval::overflow("timestamp"))
        }
        (Value::Duration(left), Value::Duration(right)) => {
            left.checked_sub(*right).map(Value::Duration).ok_or_else(|| eval::overflow("duration"))
        }
        _ => return None,
    })
}

fn bounded(text: &str) -> Option<&str> {
    (text.len() <= TIME_BYTES_MAX).then_some(text)
}
