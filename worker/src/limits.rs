//! What a worker takes of a task queue: how many jobs at once, and how many in a time.

use std::{collections::VecDeque, fmt, str::FromStr, time::Duration};

use tokio::time::{self, Instant};

/// The most jobs that a rate may be of: the moments of so many are remembered.
const RATE_JOBS_MAX: u32 = 10_000;

/// The longest time that a rate may be over: a job that waits longer for its turn is lost among those that are delivered again.
const RATE_TIME_MAX: Duration = Duration::from_hours(24);

/// How many jobs may begin within a time: in any time of that length, not only from one full second or minute to the next.
///
/// ```
/// use std::time::Duration;
/// use quorate_worker::Rate;
///
/// assert_eq!("10/s".parse(), Ok(Rate::new(10, Duration::from_secs(1))));
/// assert_eq!("600/m".parse(), Ok(Rate::new(600, Duration::from_secs(60))));
/// assert!("10".parse::<Rate>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    jobs: u32,
    per: Duration,
}

/// A text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: write 10/s, 600/m or 100/h, with 1 to {RATE_JOBS_MAX} jobs")]
pub struct InvalidRate(String);

impl Rate {
    /// So many jobs, 1 to 10,000, in each time of this length, which is longer than nothing and at most a day. What is out of these
    /// bounds is refused when the worker is built.
    #[must_use]
    pub const fn new(jobs: u32, per: Duration) -> Self {
        Self { jobs, per }
    }

    pub(crate) fn is_within_bounds(self) -> bool {
        (1..=RATE_JOBS_MAX).contains(&self.jobs) && !self.per.is_zero() && self.per <= RATE_TIME_MAX
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (jobs, unit) = text.split_once('/').ok_or_else(invalid)?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(invalid()),
        };
        let rate = Self::new(jobs.parse().map_err(|_| invalid())?, per);
        if rate.is_within_bounds() { Ok(rate) } else { Err(invalid()) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 if self.per.subsec_nanos() == 0 => write!(f, "{}/s", self.jobs),
            60 if self.per.subsec_nanos() == 0 => write!(f, "{}/m", self.jobs),
            3_600 if self.per.subsec_nanos() == 0 => write!(f, "{}/h", self.jobs),
            _ => write!(f, "{} in {:?}", self.jobs, self.per),
        }
    }
}

/// What is said of one task queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    /// How many of its jobs are carried out at once; as many as the worker's others together, where it is not said.
    pub(crate) concurrency: Option<u16>,
    /// How many of them may begin in a time.
    pub(crate) rate: Option<Rate>,
}

/// Task queues whose jobs share their places: those without a limit all together, each of the others alone.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) task_queues: Vec<String>,
    /// How many jobs are carried out at once.
    pub(crate) concurrency: u16,
    pub(crate) rate: Option<Rate>,
}

/// When the next job may begin.
pub(crate) struct Pace {
    rate: Option<Rate>,
    /// When the last jobs began, as many as the rate is of at most.
    begun: VecDeque<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { rate, begun: VecDeque::new() }
    }

    /// Waits until another job may begin.
    pub(crate) async fn turn(&self) {
        if let Some(at) = self.free_at() {
            time::sleep_until(at).await;
        }
    }

    /// A job begins now.
    pub(crate) fn begin(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        if self.is_full(rate) {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }

    /// From when on another job may begin; `None`: at any time.
    fn free_at(&self) -> Option<Instant> {
        let rate = self.rate.filter(|rate| self.is_full(*rate))?;
        self.begun.front().map(|first| *first + rate.per)
    }

    fn is_full(&self, rate: Rate) -> bool {
        u32::try_from(self.begun.len()).is_ok_and(|begun| begun >= rate.jobs)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// When jobs begin that are there at these milliseconds.
    fn begun(rate: Option<Rate>, there: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(rate);
        let mut before = start;
        there
            .iter()
            .map(|&millis| {
                let there = (start + Duration::from_millis(millis)).max(before);
                before = pace.free_at().map_or(there, |at| at.max(there));
                pace.begin(before);
                u64::try_from((before - start).as_millis()).unwrap()
            })
            .collect()
    }

    #[test]
    fn no_more_begin_in_any_time_of_the_rates_length() {
        let rate = Rate::new(3, Duration::from_secs(1));
        assert_eq!(begun(Some(rate), &[0; 8]), [0, 0, 0, 1000, 1000, 1000, 2000, 2000]);
        // Not from second to second: those at 900 count until 1900.
        assert_eq!(begun(Some(rate), &[900, 900, 950, 1000, 1000]), [900, 900, 950, 1900, 1900]);
        // What was not used is not saved up.
        assert_eq!(begun(Some(rate), &[0, 60_000, 60_000, 60_000, 60_000]), [0, 60_000, 60_000, 60_000, 61_000]);
        assert_eq!(begun(Some(Rate::new(1, Duration::from_millis(1500))), &[0, 0, 0]), [0, 1500, 3000]);
    }

    #[test]
    fn without_a_rate_every_job_begins_at_once() {
        assert_eq!(begun(None, &[0, 0, 5]), [0, 0, 5]);
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["1/s", "10000/m", "7/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "10", "/s", "0/s", "10001/s", "-1/s", "1.5/s", "1/d", "1 /s", "1/s/s"] {
            assert_eq!(wrong.parse::<Rate>(), Err(InvalidRate(wrong.to_owned())));
        }
        assert_eq!(Rate::new(2, Duration::from_millis(1500)).to_string(), "2 in 1.5s");
    }
}
