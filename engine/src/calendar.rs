//! Business time: when an office is open, and which moment is so long in open time after another.
//!
//! Opening hours are what clocks on the wall show. Where clocks are put forward, what they skip is not there: an interval that
//! falls into the gap is shorter, or has no length. Where they are put back, an interval that names the hour that comes twice
//! begins with the first and ends with the second.

use std::collections::BTreeMap;

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::projection::milliseconds;

/// How many days are looked at for a moment: ten years. A calendar that does not open long enough within them was meant
/// otherwise.
pub const DAYS_SEARCHED_MAX: u32 = 3_660;

/// Minutes of a day.
const MIDNIGHT: u32 = 24 * 60;

/// Opening hours, and the days on which they do not hold.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Its name.
    pub name: String,
    /// For people.
    pub title: String,
    /// Whose clocks its hours are read on.
    pub time_zone: TimeZone,
    /// From Monday to Sunday; on each day in their order, without overlapping.
    pub week: [Vec<Hours>; 7],
    /// Days on which nobody is there, with their names.
    pub holidays: BTreeMap<Date, String>,
}

/// An interval of a day, in minutes from midnight, as clocks show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    /// From 0 to 1439.
    pub from: u32,
    /// Later than `from`, to 1440: the end of the day.
    pub to: u32,
}

/// The calendar does not open long enough within the days that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not open for so long within {DAYS_SEARCHED_MAX} days")]
pub struct TooFar;

/// A time in which the office is open.
#[derive(Clone, Copy, Debug)]
struct Span {
    opens: Timestamp,
    closes: Timestamp,
}

impl Calendar {
    /// The moment after so many milliseconds of open time. What ends as the office closes is then, and not as it opens again.
    pub fn add_time(&self, at: Timestamp, count: u64) -> Result<Timestamp, TooFar> {
        let mut left = milliseconds(count);
        for date in self.dates(at, 1) {
            for span in self.spans(date).into_iter().filter(|span| span.closes > at) {
                let from = span.opens.max(at);
                let open = span.closes.duration_since(from);
                if left <= open {
                    return from.checked_add(left).map_err(|_| TooFar);
                }
                left -= open;
            }
        }
        Err(TooFar)
    }

    /// The moment before which so many milliseconds of open time lead up to this one.
    pub fn subtract_time(&self, at: Timestamp, count: u64) -> Result<Timestamp, TooFar> {
        let mut left = milliseconds(count);
        for date in self.dates(at, -1) {
            for span in self.spans(date).into_iter().rev().filter(|span| span.opens < at) {
                let to = span.closes.min(at);
                let open = to.duration_since(span.opens);
                if left <= open {
                    return to.checked_sub(left).map_err(|_| TooFar);
                }
                left -= open;
            }
        }
        Err(TooFar)
    }

    /// The same time of day so many open days later. A moment at which the office is closed counts as that at which it opens
    /// again; and where it is closed at that time on the last day, it is when it has closed before, or else when it opens.
    pub fn add_days(&self, at: Timestamp, count: u32) -> Result<Timestamp, TooFar> {
        let from = self.open_from(at)?;
        self.days_from(from, count, 1)
    }

    /// The same time of day so many open days earlier, as [`Calendar::add_days`].
    pub fn subtract_days(&self, at: Timestamp, count: u32) -> Result<Timestamp, TooFar> {
        let until = self.open_until(at)?;
        self.days_from(until, count, -1)
    }

    fn days_from(&self, at: Timestamp, count: u32, step: i32) -> Result<Timestamp, TooFar> {
        let local = self.local(at);
        let mut left = count;
        // The first is the day itself.
        for date in self.dates(at, step).filter(|date| *date != local.date()) {
            let spans = self.spans(date);
            let Some(first) = spans.first() else { continue };
            // The day before, or after, is among those that are looked at; it is not one that is counted.
            if (step > 0) != (date > local.date()) {
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                let wanted = self.moment(date.to_datetime(local.time()), End::Opens);
                let reached = spans.iter().rev().find(|span| span.opens <= wanted);
                return Ok(reached.map_or(first.opens, |span| wanted.min(span.closes)));
            }
        }
        Err(TooFar)
    }

    /// This moment, or the next at which the office opens.
    fn open_from(&self, at: Timestamp) -> Result<Timestamp, TooFar> {
        let mut spans = self.dates(at, 1).flat_map(|date| self.spans(date));
        spans.find(|span| span.closes > at).map(|span| span.opens.max(at)).ok_or(TooFar)
    }

    /// This moment, or the last at which the office closed.
    fn open_until(&self, at: Timestamp) -> Result<Timestamp, TooFar> {
        let mut spans = self.dates(at, -1).flat_map(|date| self.spans(date).into_iter().rev());
        spans.find(|span| span.opens < at).map(|span| span.closes.min(at)).ok_or(TooFar)
    }

    /// The days from a moment on, forwards or backwards. They begin with the day on the other side: a day of the clocks may reach
    /// beyond midnight of another moment's day where clocks are put back at midnight.
    fn dates(&self, at: Timestamp, step: i32) -> impl Iterator<Item = Date> {
        let first = self.local(at).date();
        let days = i32::try_from(DAYS_SEARCHED_MAX).unwrap_or(i32::MAX);
        (-1..days).map_while(move |day| first.checked_add((day * step).days()).ok())
    }

    /// When the office is open on a day, as it is of use: what has no length is left out.
    fn spans(&self, date: Date) -> Vec<Span> {
        if self.holidays.contains_key(&date) {
            return Vec::new();
        }
        let day = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or_default();
        let hours = self.week.get(day).map_or(&[][..], Vec::as_slice);
        let span = |hours: &Hours| Span {
            opens: self.at_minute(date, hours.from, End::Opens),
            closes: self.at_minute(date, hours.to, End::Closes),
        };
        hours.iter().map(span).filter(|span| span.opens < span.closes).collect()
    }

    fn at_minute(&self, date: Date, minute: u32, end: End) -> Timestamp {
        let (date, minute) = if minute >= MIDNIGHT { (date.tomorrow().unwrap_or(date), 0) } else { (date, minute) };
        let part = |number: u32| i8::try_from(number).unwrap_or_default();
        let time = Time::new(part(minute / 60), part(minute % 60), 0, 0).unwrap_or(Time::midnight());
        self.moment(date.to_datetime(time), end)
    }

    /// The moment at which clocks show this.
    fn moment(&self, shown: DateTime, end: End) -> Timestamp {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(shown);
        let offset = ambiguous.offset();
        match (offset, end) {
            // What is skipped is all at the moment at which clocks are put forward.
            (AmbiguousOffset::Gap { .. }, _) => {
                let before = ambiguous.earlier().ok();
                let skip = before.and_then(|before| self.time_zone.following(before).next());
                skip.map(|skip| skip.timestamp()).or(before)
            }
            (AmbiguousOffset::Fold { .. }, End::Closes) => ambiguous.later().ok(),
            (AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. }, _) => ambiguous.earlier().ok(),
        }
        .unwrap_or(Timestamp::MAX)
    }

    fn local(&self, at: Timestamp) -> DateTime {
        self.time_zone.to_datetime(at)
    }
}

/// Which end of an interval a moment is.
#[derive(Clone, Copy)]
enum End {
    Opens,
    Closes,
}
