//! Business time, as a table: a calendar, a moment, and which moment is so long after it or before.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, Zoned};
use quorate_engine::{calendar::Calendar, definition::read_calendar};

#[test]
fn moments_are_as_the_table_says() {
    let (calendars, rows) = table(include_str!("calendars/moments.txt"));
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(line, row)| check(&calendars, row).err().map(|why| format!("{line}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Whatever it is added to, open time that is added and taken away again leads back, to where the office is open.
#[test]
fn what_is_added_and_taken_away_leads_back() {
    let (calendars, _) = table(include_str!("calendars/moments.txt"));
    let start: Timestamp = "2026-03-20T00:00:00Z".parse().unwrap();
    for calendar in calendars.values() {
        for step in 0..2_000_i64 {
            let at = start + SignedDuration::from_mins(step * 37);
            for count in [60_000, 3_600_000, 5 * 3_600_000, 40 * 3_600_000] {
                let later = calendar.add_time(at, count).unwrap();
                let back = calendar.subtract_time(later, count).unwrap();
                let open = calendar.add_time(at, 1).unwrap() - SignedDuration::from_millis(1);
                assert_eq!(back, open, "{} {at} {count}", calendar.name);
                assert!(later > at);
            }
            let days = calendar.add_days(at, 3).unwrap();
            assert!(days > at && calendar.add_days(at, 4).unwrap() > days, "{} {at}", calendar.name);
            assert!(calendar.subtract_days(at, 3).unwrap() < at);
        }
    }
}

/// Calendars, each after a line `calendar NAME`, and rows.
fn table(text: &str) -> (BTreeMap<String, Calendar>, Vec<(usize, String)>) {
    let mut calendars = BTreeMap::new();
    let mut rows = Vec::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(name) = line.strip_prefix("calendar ") else {
            rows.push((number, line.to_owned()));
            continue;
        };
        let mut definition = format!("apiVersion: quorate/v1\nkind: Calendar\nname: {name}\n");
        while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            definition.push_str(line.strip_prefix("    ").unwrap());
            definition.push('\n');
        }
        let calendar = read_calendar(&definition).unwrap_or_else(|complaints| panic!("{name}: {complaints:?}"));
        calendars.insert(name.to_owned(), calendar);
    }
    (calendars, rows)
}

/// `office: 2026-03-27T10:00+01:00[Europe/Berlin] + 4h = 2026-03-27T15:00+01:00[Europe/Berlin]`
fn check(calendars: &BTreeMap<String, Calendar>, row: &str) -> Result<(), String> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let [name, at, sign, length, "=", expected] = words[..] else { return Err(format!("`{row}` is no row")) };
    let calendar = calendars.get(name.trim_end_matches(':')).ok_or("there is no such calendar")?;
    let at: Zoned = at.parse().map_err(|error| format!("`{at}`: {error}"))?;
    let moment = at.timestamp();
    let reached = match (sign, length.strip_suffix("bd")) {
        ("+", Some(days)) => calendar.add_days(moment, days.parse().unwrap()),
        ("-", Some(days)) => calendar.subtract_days(moment, days.parse().unwrap()),
        (sign, _) => {
            let length: SignedDuration = length.parse().map_err(|error| format!("`{length}`: {error}"))?;
            let count = u64::try_from(length.as_millis()).unwrap();
            if sign == "+" { calendar.add_time(moment, count) } else { calendar.subtract_time(moment, count) }
        }
    };
    let shown =
        reached.map_or_else(|error| error.to_string(), |at| at.to_zoned(calendar.time_zone.clone()).to_string());
    let is_expected = expected.parse::<Zoned>().is_ok_and(|expected| reached == Ok(expected.timestamp()));
    if is_expected || (expected == "too-far" && reached.is_err()) {
        Ok(())
    } else {
        Err(format!("{row}: it is {shown}"))
    }
}
