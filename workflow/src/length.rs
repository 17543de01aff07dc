//! Lengths of time: objects of units, or ISO 8601.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde_json::Value;

/// How long anything is: longer than any job may take.
const LENGTH_MAX: Duration = Duration::from_hours(366 * 24);

const UNITS: [(&str, u64); 5] =
    [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000), ("milliseconds", 1)];

/// Reads a length; the error says what would be right.
pub(crate) fn parse(value: &Value) -> Result<Duration, String> {
    let length = match value {
        Value::String(text) => {
            let signed = text
                .parse::<Span>()
                .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
                .ok()
                .filter(|_| text.starts_with('P'));
            let signed =
                signed.ok_or_else(|| format!("`{text}` is no ISO 8601 duration such as `PT15S` or `P1DT2H`"))?;
            Duration::try_from(signed).map_err(|_| "a duration is not negative".to_owned())?
        }
        Value::Object(units) => {
            let mut milliseconds = 0u64;
            for (name, count) in units {
                let Some((_, unit)) = UNITS.iter().find(|(unit, _)| unit == name) else {
                    return Err(format!(
                        "`{name}` is no unit; there are days, hours, minutes, seconds and milliseconds"
                    ));
                };
                let count = count.as_u64().ok_or_else(|| format!("`{name}` has to be a whole number from 0"))?;
                milliseconds = milliseconds.saturating_add(count.saturating_mul(*unit));
            }
            if units.is_empty() {
                return Err("a duration has at least one unit, such as `seconds: 5`".to_owned());
            }
            Duration::from_millis(milliseconds)
        }
        _ => {
            return Err(
                "a duration is needed here: an object such as `seconds: 5`, or ISO 8601 such as `PT5S`".to_owned()
            );
        }
    };
    if length > LENGTH_MAX { Err("a duration is at most 366 days".to_owned()) } else { Ok(length) }
}
