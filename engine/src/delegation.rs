//! Delegations: who acts for whom, when, and in what (DESIGN 9). A delegation is a rule that is looked up when somebody lists or
//! decides; no work item is ever rewritten by one, so that it begins, ends and is taken back without anything to undo.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use crate::{
    definition::summary_scope,
    directory::{Directory, DirectoryError, check_name, time_zone},
    expression::{Expression, Type},
};

/// How long a delegation may last, in days: a year and a day. What is to last longer is looked at again after that.
pub const DELEGATION_DAYS_MAX: i64 = 366;

/// How many delegations one person may have given, those that have ended included: each is looked at when somebody decides for
/// them.
pub const DELEGATIONS_OF_USER_MAX: usize = 100;

/// How many alternates a delegation may name: each before another is looked at when somebody decides.
pub const ALTERNATES_MAX: usize = 10;

/// How many processes a delegation may name: more than that is all of them.
pub const DELEGATION_PROCESSES_MAX: usize = 50;

/// Lets one person act for another, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Unique in the tenant.
    pub name: String,
    /// Whom it is acted for.
    pub from: String,
    /// Who acts for them.
    pub to: String,
    /// From then on.
    pub start: Timestamp,
    /// Until then, this moment no more.
    pub end: Timestamp,
    /// In submissions of these processes only; empty: in all.
    pub processes: BTreeSet<String>,
    /// Where this holds only. It reads what a summary reads: `record`, `submission` and `now`.
    pub when: Option<Expression>,
    /// Who acts when those before cannot, in this order.
    pub alternates: Vec<String>,
}

impl Delegation {
    /// Whether it is in force.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }

    /// Those who may act, in their order.
    pub fn delegates(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.to).chain(&self.alternates).map(String::as_str)
    }

    /// Whether it is about submissions of this process.
    pub fn is_about(&self, process: &str) -> bool {
        self.processes.is_empty() || self.processes.contains(process)
    }
}

/// A delegation as somebody writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelegation {
    /// Made of `from`, `to` and `start` where it is not said.
    pub name: Option<String>,
    /// Whom it is acted for.
    pub from: String,
    /// Who acts for them.
    pub to: String,
    /// From then on.
    pub start: Moment,
    /// Until then, this moment no more.
    pub end: Moment,
    /// Where a time without an offset is local; the delegator's time zone where it is not said, and UTC where they have none.
    pub time_zone: Option<String>,
    /// In submissions of these processes only; empty: in all.
    pub processes: BTreeSet<String>,
    /// Where this holds only.
    pub when: Option<Expression>,
    /// Who acts when those before cannot, in this order.
    pub alternates: Vec<String>,
}

/// A time as somebody writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The same everywhere: `2026-12-01T00:00:00Z`.
    Instant(Timestamp),
    /// What a clock on the wall shows: `2026-12-01T09:00`, or `2026-12-01` for its first moment.
    Local(civil::DateTime),
}

impl Moment {
    /// The time that a text says.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unreadable = || {
            format!(
                "`{text}` is no time: write 2026-12-01T09:00:00Z, or 2026-12-01T09:00 or 2026-12-01 for a local time"
            )
        };
        // A time zone in brackets would be read over in a local time.
        if text.contains('[') {
            return Err(unreadable());
        }
        if let Ok(instant) = text.parse() {
            return Ok(Self::Instant(instant));
        }
        text.parse().map(Self::Local).map_err(|_| unreadable())
    }

    /// The instant, to the microsecond as everything that is stored. A local time that a change of clocks leaves out is as much
    /// later; of one that there is twice it is the first.
    fn instant(self, zone: &TimeZone) -> Option<Timestamp> {
        let instant = match self {
            Self::Instant(instant) => instant,
            Self::Local(local) => zone.to_timestamp(local).ok()?,
        };
        Timestamp::from_microsecond(instant.as_microsecond()).ok()
    }
}

impl NewDelegation {
    /// The delegation, with its window as instants.
    pub fn resolve(self, directory: &Directory) -> Result<Delegation, DirectoryError> {
        let name = self.name.clone().unwrap_or_default();
        let bad = |field: &'static str, why: String| DirectoryError::Delegation { name: name.clone(), field, why };
        let users = directory.users.get(&self.from).and_then(|user| user.time_zone.as_deref());
        let zone = match self.time_zone.as_deref().or(users) {
            None => TimeZone::UTC,
            Some(zone) => time_zone(zone).map_err(|why| bad("time_zone", why))?,
        };
        let instant = |field, moment: Moment| {
            moment.instant(&zone).ok_or_else(|| bad(field, "is outside of the times that there are".to_owned()))
        };
        let (start, end) = (instant("start", self.start)?, instant("end", self.end)?);
        let name =
            self.name.unwrap_or_else(|| format!("{}-{}-{}", self.from, self.to, start.strftime("%Y%m%dT%H%M%SZ")));
        Ok(Delegation {
            name,
            from: self.from,
            to: self.to,
            start,
            end,
            processes: self.processes,
            when: self.when,
            alternates: self.alternates,
        })
    }
}

/// Checks what a delegation says by itself; whether those it names exist is looked at with the whole directory.
pub(crate) fn check_delegation(delegation: &Delegation) -> Result<(), DirectoryError> {
    check_name(&delegation.name)?;
    let bad = |field, why: String| Err(DirectoryError::Delegation { name: delegation.name.clone(), field, why });
    if delegation.start >= delegation.end {
        return bad("end", format!("{} is not after the start, {}", delegation.end, delegation.start));
    }
    let longest = SignedDuration::from_hours(24 * DELEGATION_DAYS_MAX);
    if delegation.end.duration_since(delegation.start) > longest {
        return bad("end", format!("is too late: a delegation lasts {DELEGATION_DAYS_MAX} days at most"));
    }
    let mut seen = BTreeSet::from([delegation.from.as_str()]);
    for (place, delegate) in delegation.delegates().enumerate() {
        let field = if place == 0 { "to" } else { "alternates" };
        if delegate == delegation.from {
            return bad(field, format!("`{delegate}` cannot act for themselves"));
        }
        if !seen.insert(delegate) {
            return bad(field, format!("`{delegate}` is named twice"));
        }
    }
    if delegation.alternates.len() > ALTERNATES_MAX {
        return bad("alternates", format!("are too many: name {ALTERNATES_MAX} at most"));
    }
    if delegation.processes.len() > DELEGATION_PROCESSES_MAX {
        return bad("processes", format!("are too many: name {DELEGATION_PROCESSES_MAX} at most"));
    }
    if let Some(name) = delegation.processes.iter().find(|name| check_name(name).is_err()) {
        return bad("processes", format!("`{}` is no name of a process", name.chars().take(128).collect::<String>()));
    }
    if let Some(when) = &delegation.when
        && let Err(error) = when.check_bool(&summary_scope(&Type::Dyn))
    {
        return bad("when", error.to_string());
    }
    Ok(())
}
