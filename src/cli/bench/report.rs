//! What was measured.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::{
    bench::{load::Pace, workload::Workload},
    table::print_fields,
};

/// The longest latency that is told from longer ones, in microseconds: an hour, longer than any run.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Three significant digits: an error below 0.1 % of each latency, in about 200 KiB.
const SIGNIFICANT_DIGITS: u8 = 3;
/// How many reasons of errors are kept apart; all others are one.
const REASONS_MAX: usize = 20;

/// The time that is measured: after the warm-up, and before the rest is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Window {
    fn contains(&self, instant: Instant) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// One submission from its beginning (where the rate is fixed: the scheduled one) to its end.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    /// Whether the server took the submission.
    pub(crate) submitted: bool,
    /// The reason of an error.
    pub(crate) result: Result<(), String>,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Recorder {
    window: Window,
    latencies: Histogram<u64>,
    /// Of those begun within the window.
    begun: u64,
    ended: u64,
    submitted: u64,
    completed: u64,
    errors: BTreeMap<String, u64>,
    /// Completed within the window, whenever begun: what the rate is made of.
    completed_in_window: u64,
    /// Completed at any time, for the progress line, and how many at the last one.
    completed_ever: u64,
    completed_told: u64,
}

impl Recorder {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            latencies: Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
                .expect("1 to an hour with three digits is within what the histogram supports"),
            begun: 0,
            ended: 0,
            submitted: 0,
            completed: 0,
            errors: BTreeMap::new(),
            completed_in_window: 0,
            completed_ever: 0,
            completed_told: 0,
        }
    }

    /// The time that is measured.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// A submission begins.
    pub(crate) fn begin(&mut self, at: Instant) {
        self.begun += u64::from(self.window.contains(at));
    }

    /// A submission that had begun has ended, one way or the other.
    pub(crate) fn end(&mut self, sample: Sample) {
        let measured = self.window.contains(sample.begun);
        self.ended += u64::from(measured);
        self.submitted += u64::from(measured && sample.submitted);
        match sample.result {
            Ok(()) => {
                self.completed_ever += 1;
                self.completed_in_window += u64::from(self.window.contains(sample.ended));
                if measured {
                    self.completed += 1;
                    let latency = sample.ended.saturating_duration_since(sample.begun).as_micros();
                    self.latencies.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
                }
            }
            Err(reason) if measured => self.count_error(reason, 1),
            Err(_) => {}
        }
    }

    fn count_error(&mut self, reason: String, count: u64) {
        let known = self.errors.contains_key(&reason) || self.errors.len() < REASONS_MAX;
        *self.errors.entry(if known { reason } else { "OTHER".to_owned() }).or_default() += count;
    }

    /// One line on how it goes; called each second, so that what has completed since is what completes in a second.
    pub(crate) fn progress(&mut self, start: Instant, now: Instant) -> String {
        let recent = self.completed_ever - self.completed_told;
        self.completed_told = self.completed_ever;
        let phase = if now < self.window.start {
            "warming up"
        } else if now < self.window.end {
            "measuring"
        } else {
            "waiting for the rest"
        };
        let errors: u64 = self.errors.values().sum();
        let seconds = now.saturating_duration_since(start).as_secs();
        format!("{seconds:>4} s  {phase}  {recent}/s  errors {errors}")
    }

    /// The report. What has begun and not ended is an error.
    pub(crate) fn report(&mut self, workload: Workload, pace: Pace) -> Report {
        let unfinished = self.begun - self.ended;
        if unfinished > 0 {
            self.ended = self.begun;
            self.count_error("UNFINISHED".to_owned(), unfinished);
        }
        let duration = self.window.end - self.window.start;
        // Counts beyond 2^32 would take a year.
        let completed_in_window = u32::try_from(self.completed_in_window).unwrap_or(u32::MAX);
        let quantile = |quantile| milliseconds(self.latencies.value_at_quantile(quantile));
        Report {
            workload,
            pace,
            duration,
            submitted: self.submitted,
            completed: self.completed,
            errors: self.errors.clone(),
            completed_per_second: rounded(f64::from(completed_in_window) / duration.as_secs_f64()),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: milliseconds(self.latencies.max()),
        }
    }
}

/// The result of a run. Latencies are in milliseconds.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) workload: Workload,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    /// Begun within the measured time, and taken by the server.
    pub(crate) submitted: u64,
    /// Begun within the measured time, and approved, be it after that time.
    pub(crate) completed: u64,
    /// Begun within the measured time, and not approved: how many for each reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Approved within the measured time, for each second of it.
    pub(crate) completed_per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Report {
    /// For programs.
    pub(crate) fn to_value(&self) -> Value {
        let (rate, concurrency) = match self.pace {
            Pace::Open { rate } => (json!(rate), Value::Null),
            Pace::Closed { concurrency } => (Value::Null, json!(concurrency)),
        };
        json!({
            "workload": self.workload.name(),
            "rate": rate,
            "concurrency": concurrency,
            "duration_seconds": self.duration.as_secs_f64(),
            "submitted": self.submitted,
            "completed": self.completed,
            "errors": self.errors.values().sum::<u64>(),
            "error_reasons": self.errors,
            "completed_per_second": self.completed_per_second,
            "latency_ms": { "p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max },
        })
    }

    /// For people.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let pace = match self.pace {
            Pace::Open { rate } => format!("{rate} a second"),
            Pace::Closed { concurrency } => format!("{concurrency} at a time"),
        };
        let errors: Vec<_> = self.errors.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let fields = [
            ("workload", format!("{}, {pace}, {} s", self.workload.name(), self.duration.as_secs_f64())),
            ("submitted", self.submitted.to_string()),
            ("completed", self.completed.to_string()),
            ("errors", if errors.is_empty() { "0".to_owned() } else { errors.join(", ") }),
            ("completed/s", self.completed_per_second.to_string()),
            ("latency p50", format!("{} ms", self.p50)),
            ("latency p90", format!("{} ms", self.p90)),
            ("latency p99", format!("{} ms", self.p99)),
            ("latency max", format!("{} ms", self.max)),
        ];
        print_fields(&fields, out)
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    rounded(Duration::from_micros(microseconds).as_secs_f64() * 1000.0)
}

/// To three decimals: what is behind them is noise.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace::Closed { concurrency: 1 };

    fn recorder() -> (Instant, Recorder) {
        let start = Instant::now();
        let window = Window { start: start + Duration::from_secs(1), end: start + Duration::from_secs(11) };
        (start, Recorder::new(window))
    }

    fn record(recorder: &mut Recorder, begun: Instant, latency: Duration, result: Result<(), String>) {
        recorder.begin(begun);
        recorder.end(Sample { begun, ended: begun + latency, submitted: true, result });
    }

    #[test]
    fn percentiles_are_of_the_submissions_begun_within_the_window() {
        let (start, mut recorder) = recorder();
        record(&mut recorder, start, Duration::from_secs(100), Ok(()));
        for number in 1..=100_u64 {
            let begun = start + Duration::from_millis(1000 + number);
            record(&mut recorder, begun, Duration::from_millis(number), Ok(()));
        }
        let report = recorder.report(Workload::W1, PACE);
        assert_eq!((report.submitted, report.completed), (100, 100));
        for (measured, expected) in [(report.p50, 50.0), (report.p90, 90.0), (report.p99, 99.0), (report.max, 100.0)] {
            assert!((measured - expected).abs() <= expected * 0.001, "{measured} is not {expected}");
        }
        assert!((report.completed_per_second - 10.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_ends_after_the_window_counts_for_latency_and_not_for_the_rate() {
        let (start, mut recorder) = recorder();
        record(&mut recorder, start + Duration::from_secs(10), Duration::from_secs(5), Ok(()));
        let report = recorder.report(Workload::W1, PACE);
        assert_eq!(report.completed, 1);
        assert!(report.p50 > 4990.0);
        assert!(report.completed_per_second.abs() < f64::EPSILON);
    }

    #[test]
    fn errors_are_told_by_reason_and_what_never_ended_is_one() {
        let (start, mut recorder) = recorder();
        let within = start + Duration::from_secs(2);
        recorder.begin(within);
        record(&mut recorder, within, Duration::ZERO, Err("REJECTED".to_owned()));
        record(&mut recorder, start, Duration::ZERO, Err("WARMUP".to_owned()));
        let report = recorder.report(Workload::W2, Pace::Open { rate: 20.0 });
        let value = report.to_value();
        assert_eq!(value["errors"], 2);
        assert_eq!(value["error_reasons"], json!({ "REJECTED": 1, "UNFINISHED": 1 }));
        assert_eq!((&value["rate"], &value["concurrency"]), (&json!(20.0), &Value::Null));
        let mut text = Vec::new();
        report.print(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("errors       1 REJECTED, 1 UNFINISHED\n"));
    }

    #[test]
    fn reasons_are_bounded() {
        let (start, mut recorder) = recorder();
        for number in 0..100 {
            record(&mut recorder, start + Duration::from_secs(2), Duration::ZERO, Err(format!("R{number}")));
        }
        assert!(recorder.errors.len() <= REASONS_MAX + 1);
        assert_eq!(recorder.errors.values().sum::<u64>(), 100);
    }
}
