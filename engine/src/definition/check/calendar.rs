//! Calendars.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{Checker, TITLE_CHARS_MAX, Text, shorten};
use crate::{
    calendar::{Calendar, Hours},
    definition::source,
    directory::time_zone,
};

/// How many intervals a day may have: an office that opens more often is never closed.
pub const INTERVALS_MAX: usize = 10;

/// How many holidays a calendar may have: thirty a year for thirty years.
pub const HOLIDAYS_MAX: usize = 1_000;

impl Checker<'_> {
    pub(super) fn calendar(&mut self, source: &source::Calendar) -> Option<Calendar> {
        let name = self.definition_name(&source.name, "name");
        let title = source.title.as_ref().map_or_else(String::new, |title| title.value.clone());
        if let Some(title) = source.title.as_ref().filter(|title| title.value.chars().count() > TITLE_CHARS_MAX) {
            self.error(title, "title", format!("a title has at most {TITLE_CHARS_MAX} characters"));
        }
        let zone =
            time_zone(&source.time_zone.value).map_err(|why| self.error(&source.time_zone, "time_zone", why)).ok();
        let hours = &source.hours.value;
        let days = [
            ("monday", &hours.monday),
            ("tuesday", &hours.tuesday),
            ("wednesday", &hours.wednesday),
            ("thursday", &hours.thursday),
            ("friday", &hours.friday),
            ("saturday", &hours.saturday),
            ("sunday", &hours.sunday),
        ];
        let week = days.map(|(day, intervals)| self.intervals(intervals, &format!("hours.{day}")));
        if week.iter().all(Vec::is_empty) {
            self.error(&source.hours, "hours", "the calendar is never open");
        }
        let holidays = self.holidays(source);
        Some(Calendar { name, title, time_zone: zone?, week, holidays })
    }

    fn intervals(&mut self, intervals: &[Text], path: &str) -> Vec<Hours> {
        let Some(first) = intervals.first() else { return Vec::new() };
        let intervals = self.at_most(intervals, first, path, INTERVALS_MAX);
        let mut read: Vec<Hours> = Vec::new();
        for (index, text) in intervals.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match hours(&text.value) {
                None => {
                    let message = format!(
                        "`{}` is no interval; write from when to when, such as `\"09:00-12:30\"`, to `24:00` at most",
                        shorten(&text.value)
                    );
                    self.error(text, &path, message);
                }
                Some(hours) if hours.from >= hours.to => {
                    self.error(
                        text,
                        &path,
                        "this ends before it begins; what goes on after midnight is the next day's",
                    );
                }
                Some(hours) if read.last().is_some_and(|last| hours.from < last.to) => {
                    self.error(text, &path, "this begins before the interval before it ends; write them in order");
                }
                Some(hours) => read.push(hours),
            }
        }
        read
    }

    fn holidays(&mut self, source: &source::Calendar) -> BTreeMap<Date, String> {
        let Some(holidays) = &source.holidays else { return BTreeMap::new() };
        let listed = self.at_most(&holidays.value, holidays, "holidays", HOLIDAYS_MAX);
        let mut read = BTreeMap::new();
        for (index, holiday) in listed.iter().enumerate() {
            let path = format!("holidays[{index}].date");
            let Ok(date) = holiday.date.value.parse::<Date>() else {
                let message = format!(
                    "`{}` is no date; write year, month and day, such as `2026-12-25`",
                    shorten(&holiday.date.value)
                );
                self.error(&holiday.date, &path, message);
                continue;
            };
            if read.insert(date, holiday.name.value.clone()).is_some() {
                self.error(&holiday.date, &path, "this day is named before");
            }
            if holiday.name.value.chars().count() > TITLE_CHARS_MAX {
                let message = format!("a name of a day has at most {TITLE_CHARS_MAX} characters");
                self.error(&holiday.name, &format!("holidays[{index}].name"), message);
            }
        }
        read
    }
}

/// `09:00-12:30`
fn hours(text: &str) -> Option<Hours> {
    let (from, to) = text.split_once('-')?;
    let from = minute(from.trim())?;
    Some(Hours { from, to: minute(to.trim())? }).filter(|hours| hours.from < 24 * 60)
}

/// `09:30`, in minutes; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() == 2);
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}
