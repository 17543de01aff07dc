//! Durations as people write them: `30s`, `1m`, `250ms`, `1h30m`.

/// The longest duration that a definition may ask for: a year and a day. What is meant to last longer is meant to last
/// for ever, and then the field is left out.
pub const DURATION_DAYS_MAX: u64 = 366;

const DURATION_MS_MAX: u64 = DURATION_DAYS_MAX * DAY;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a duration, in milliseconds; at least one.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let total = sum(text).ok_or_else(|| {
        format!("`{text}` is not a duration; write whole numbers with units (d, h, m, s, ms), such as `30s` or `1h30m`")
    })?;
    match total {
        0 => Err("a duration must be longer than nothing".to_owned()),
        1..=DURATION_MS_MAX => Ok(total),
        _ => Err(format!("`{text}` is too long; the longest duration is {DURATION_DAYS_MAX}d")),
    }
}

/// Reads a duration of business time, in which days mean something else.
pub(super) fn parse_hours(text: &str) -> Result<u64, String> {
    let duration = parse(text)?;
    if text.contains('d') {
        return Err("a day is no length in business time; write hours, or `business_days`".to_owned());
    }
    Ok(duration)
}

/// Whether this is a duration of nothing, which only some fields take.
pub(super) fn is_none(text: &str) -> bool {
    sum(text) == Some(0)
}

/// The parts from the largest unit to the smallest, each unit at most once; `None` for anything else.
fn sum(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit = match unit {
            "d" => DAY,
            "h" => HOUR,
            "m" => MINUTE,
            "s" => SECOND,
            "ms" => 1,
            _ => return None,
        };
        if unit >= smaller_than {
            return None;
        }
        smaller_than = unit;
        // A number that does not fit is a duration all the same, only too long.
        let count = if digits.is_empty() { return None } else { digits.parse().unwrap_or(u64::MAX) };
        total = total.saturating_add(unit.saturating_mul(count));
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
            ("366d", 366 * 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "1.5h",
            "-1s",
            "1h 30m",
            "30m1h",
            "1h1h",
            "1w",
            "0s",
            "367d",
            "99999999999999999999s",
            "1d1ms1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
