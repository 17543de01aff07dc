//! Moments of an approval step: when it is due, whom it reminds and asks besides as time passes, and when it expires.

use super::AssignRule;

/// How long after something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// So many milliseconds.
    Time(u64),
    /// So many milliseconds in which the step's calendar is open.
    Business(u64),
    /// So many days on which the step's calendar is open.
    BusinessDays(u32),
}

/// A moment of an approval step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after it started.
    After(Lapse),
    /// So long before it is due.
    BeforeDue(Lapse),
    /// So long after it is due; `None`: when it is due.
    AfterDue(Option<Lapse>),
}

/// Reminds whoever has not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// When first.
    pub at: Moment,
    /// How long after each the next follows; `None`: there is one.
    pub every: Option<Lapse>,
    /// How many there are, from 1.
    pub times: u32,
}

/// Asks others as well, or instead.
#[derive(Clone, Debug)]
pub struct Escalation {
    /// When.
    pub at: Moment,
    /// Whom.
    pub to: Vec<AssignRule>,
    /// Whether those who have not decided yet are asked no more.
    pub replace: bool,
}

/// Ends a step that nobody has decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When.
    pub at: Moment,
    /// How.
    pub outcome: ExpiryOutcome,
}

/// How a step ends that nobody has decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExpiryOutcome {
    /// It is rejected.
    Reject,
    /// It meets an error.
    Error,
    /// It is approved: by silence, which a process has to allow in so many words.
    Approve,
}
