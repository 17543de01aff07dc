//! `try`: errors that are caught, and tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Done, Interpreter, Surroundings};
use crate::{
    Problem,
    model::{Backoff, Length, Retry, Try},
};

/// How long is waited before it is tried again, at most: whatever the backoff makes of the delay.
const DELAY_MAX: Duration = Duration::from_hours(24);

impl Interpreter<'_> {
    /// Tries, and tries again as the policy says; then hands an error that is caught to the handler. Where there is none, an error
    /// that was tried again goes on, and one that was not is passed over.
    pub(super) async fn try_catch(&self, tried: &Try, around: &Surroundings, input: Value) -> Done {
        let begun = self.effects.now();
        let mut retries = 0;
        loop {
            let limit = tried.retry.as_ref().and_then(|retry| retry.attempt).map(Length::Fixed);
            // What an attempt that fails has done to the submission is let go with it.
            let apart = around.apart();
            let attempt = self.tasks(&tried.tasks, &apart, input.clone());
            let problem = match self.within(limit.as_ref(), "an attempt", &input, around, attempt).await {
                Ok(done) => {
                    around.collected.take_over(&apart.collected)?;
                    return Ok(done);
                }
                Err(problem) => problem.at(around.task["reference"].as_str().unwrap_or_default()),
            };
            // Nothing more is carried out: whoever caught this would go round for ever.
            if self.steps_are_used_up() {
                return Err(problem);
            }
            let inside = around.inside([(tried.name.clone(), problem.value())]);
            if !self.catches(tried, &problem, &input, &inside).await? {
                return Err(problem);
            }
            if let Some(retry) = &tried.retry
                && let Some(delay) = self.delay(retry, retries, begun, &input, &inside).await?
            {
                self.effects.sleep(delay).await;
                retries += 1;
                continue;
            }
            return match &tried.handler {
                Some(handler) => self.tasks(handler, &inside, input).await,
                None if tried.retry.is_some() => Err(problem),
                None => Ok((input, super::Left::ByItsEnd)),
            };
        }
    }

    async fn catches(
        &self,
        tried: &Try,
        problem: &Problem,
        input: &Value,
        inside: &Surroundings,
    ) -> Result<bool, Problem> {
        let value = problem.value();
        for (name, wanted) in &tried.errors {
            if self.fill(wanted, input, inside).await? != value[name.as_str()] {
                return Ok(false);
            }
        }
        self.allows(tried.when.as_ref(), tried.except_when.as_ref(), input, inside).await
    }

    async fn allows(
        &self,
        when: Option<&crate::expression::Expression>,
        except_when: Option<&crate::expression::Expression>,
        input: &Value,
        inside: &Surroundings,
    ) -> Result<bool, Problem> {
        if let Some(when) = when
            && !self.holds(when, input, inside).await?
        {
            return Ok(false);
        }
        match except_when {
            Some(except) => Ok(!self.holds(except, input, inside).await?),
            None => Ok(true),
        }
    }

    /// How long to wait before the next attempt; `None` when there is none.
    async fn delay(
        &self,
        retry: &Retry,
        retries: u32,
        begun: Timestamp,
        input: &Value,
        inside: &Surroundings,
    ) -> Result<Option<Duration>, Problem> {
        if retry.count.is_some_and(|count| u64::from(retries) >= count)
            || !self.allows(retry.when.as_ref(), retry.except_when.as_ref(), input, inside).await?
        {
            return Ok(None);
        }
        let mut delay = match retry.backoff {
            Backoff::Constant => retry.delay,
            Backoff::Linear => retry.delay.saturating_mul(retries.saturating_add(1)),
            Backoff::Exponential => retry.delay.saturating_mul(1u32.checked_shl(retries).unwrap_or(u32::MAX)),
        };
        if let Some((from, to)) = retry.jitter {
            delay = delay.saturating_add(from + to.saturating_sub(from).mul_f64(self.effects.random().clamp(0.0, 1.0)));
        }
        let delay = delay.min(DELAY_MAX);
        if let Some(limit) = retry.duration {
            let taken = self.effects.now().duration_since(begun);
            let at = taken.saturating_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX));
            if at > SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX) {
                return Ok(None);
            }
        }
        Ok(Some(delay))
    }
}
