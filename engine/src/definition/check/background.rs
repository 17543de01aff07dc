//! Background steps: what they run, and for how long.

use std::collections::BTreeMap;

use super::{Checker, Text, expressions::Wanted};
use crate::{
    definition::{BackgroundStep, Execution, FlowType, source},
    expression::Expression,
    state::RetryPolicy,
};

/// The longest wait for a synchronous step: a caller holds a connection open for it, and proxies in between give up
/// after some minutes.
pub const SYNC_TIMEOUT_MS_MAX: u64 = 5 * 60 * 1_000;

/// How many attempts a job has at most.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// How much longer each wait may be than the one before.
pub const BACKOFF_MAX: f64 = 100.0;

/// How many fields an input has: each is an expression to evaluate.
pub const INPUT_FIELDS_MAX: usize = 100;

/// How many codes may be said to be not worth another attempt.
pub const NON_RETRYABLE_MAX: usize = 50;

const SYNC_TIMEOUT: u64 = 10_000;
const TIMEOUT: u64 = 10 * 60 * 1_000;
const RETRIES: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    initial_interval: 1_000,
    backoff: 2.0,
    max_interval: 60_000,
    jitter: 0.2,
    non_retryable: Vec::new(),
    timeout: TIMEOUT,
    total_timeout: None,
    heartbeat_timeout: None,
};

const EXECUTIONS: [(&str, Execution); 3] =
    [("auto", Execution::Auto), ("sync", Execution::Sync), ("async", Execution::Async)];

/// What is said of a job's retries and bounds.
pub(super) struct Bounds<'s> {
    pub(super) timeout: Option<&'s Text>,
    pub(super) total_timeout: Option<&'s Text>,
    pub(super) heartbeat: Option<&'s Text>,
    pub(super) retry: &'s source::Retry,
}

impl<'s> Bounds<'s> {
    fn of_background(source: &'s source::Background) -> Self {
        Self {
            timeout: source.timeout.as_ref(),
            total_timeout: source.total_timeout.as_ref(),
            heartbeat: source.heartbeat.as_ref(),
            retry: &source.retry,
        }
    }
}

impl Checker<'_> {
    pub(super) fn background(&mut self, source: &source::Background, path: &str) -> Option<BackgroundStep> {
        self.flow_of_type(&source.flow, &format!("{path}.flow"), FlowType::Autolaunched, "a background step");
        let execution = source
            .execution
            .as_ref()
            .and_then(|word| self.word(word, &format!("{path}.execution"), &EXECUTIONS))
            .unwrap_or(Execution::Auto);
        let sync_timeout = self.sync_timeout(source, execution, &format!("{path}.sync_timeout"));
        let input = self.input(&source.flow, &source.input, &format!("{path}.input"));
        let retry = self.retry(&Bounds::of_background(source), path);
        Some(BackgroundStep { flow: source.flow.value.clone(), execution, sync_timeout, input: input?, retry })
    }

    fn sync_timeout(&mut self, source: &source::Background, execution: Execution, path: &str) -> u64 {
        let Some(written) = &source.sync_timeout else { return SYNC_TIMEOUT };
        if execution == Execution::Async {
            self.warning(written, path, "this is not used: with `execution: async` nobody waits");
        }
        let timeout = self.duration(Some(written), path, SYNC_TIMEOUT);
        if timeout > SYNC_TIMEOUT_MS_MAX {
            let message = format!("a caller waits at most {}m", SYNC_TIMEOUT_MS_MAX / 60_000);
            self.error(written, path, message);
        }
        timeout
    }

    /// The input of a flow: an expression a field.
    pub(super) fn input(
        &mut self,
        flow: &Text,
        input: &BTreeMap<String, Text>,
        path: &str,
    ) -> Option<BTreeMap<String, Expression>> {
        if input.len() > INPUT_FIELDS_MAX {
            let message = format!("{} fields are too many; use at most {INPUT_FIELDS_MAX}", input.len());
            self.error(flow, path, message);
        }
        let fields: Vec<_> = (input.iter())
            .map(|(name, value)| {
                let value = self.expression(value, &format!("{path}.{}", super::shorten(name)), Wanted::Anything);
                Some((name.clone(), value?))
            })
            .collect();
        fields.into_iter().collect()
    }

    /// Retries and bounds of a job.
    pub(super) fn retry(&mut self, bounds: &Bounds<'_>, path: &str) -> RetryPolicy {
        let retry = bounds.retry;
        let at = |field: &str| format!("{path}.retry.{field}");
        let initial_interval =
            self.duration(retry.initial_interval.as_ref(), &at("initial_interval"), RETRIES.initial_interval);
        // A first wait that is longer than the longest by default is meant to be the longest.
        let max_interval =
            self.duration(retry.max_interval.as_ref(), &at("max_interval"), RETRIES.max_interval.max(initial_interval));
        if let Some(written) = &retry.max_interval
            && max_interval < initial_interval
        {
            self.error(written, &at("max_interval"), "the longest wait is shorter than the first one");
        }
        if let Some(first) = retry.non_retryable.first() {
            self.at_most(&retry.non_retryable, first, &at("non_retryable"), NON_RETRYABLE_MAX);
        }
        RetryPolicy {
            max_attempts: self.number(
                retry.max_attempts.as_ref(),
                &at("max_attempts"),
                (1, ATTEMPTS_MAX),
                RETRIES.max_attempts,
            ),
            initial_interval,
            backoff: self.number(retry.backoff.as_ref(), &at("backoff"), (1.0, BACKOFF_MAX), RETRIES.backoff),
            max_interval,
            jitter: self.number(retry.jitter.as_ref(), &at("jitter"), (0.0, 1.0), RETRIES.jitter),
            non_retryable: retry.non_retryable.iter().map(|code| code.value.clone()).collect(),
            timeout: self.duration(bounds.timeout, &format!("{path}.timeout"), RETRIES.timeout),
            total_timeout: self.duration_if_given(bounds.total_timeout, &format!("{path}.total_timeout")),
            heartbeat_timeout: self.duration_if_given(bounds.heartbeat, &format!("{path}.heartbeat")),
        }
    }
}
