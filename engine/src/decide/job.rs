//! Jobs: what a worker reports, and what the passing of time means (DESIGN 2.6). A result counts only with the live attempt's
//! token (DESIGN 4, invariant 4).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    Json,
    command::{FlowEffect, Report, ReportOutcome},
    definition::SchemaViolation,
    event::EventKind,
    id::{JobId, StepRunId, Token},
    projection::{later, milliseconds},
    refusal::Refusal,
    state::{Condition, Failure, FailureReason, Job, RetryPolicy},
    status::JobStatus,
};

use super::{draft::Draft, has_passed};

/// How much of an error's code and message is kept, in characters.
const CODE_CHARACTERS_MAX: usize = 100;
const MESSAGE_CHARACTERS_MAX: usize = 2_000;

/// What an attempt fails with whose worker is stopped while it runs, and whose job nobody would give to another worker by itself.
const WORKER_STOPPED: &str = "WORKER_STOPPED";

/// How many attempts of a job are not counted because their workers were stopped. A job that runs for weeks meets a few deployments a day;
/// beyond that something stops it again and again, and the attempts count.
const STOPS_MAX: u32 = 100;

/// The field of an evaluation flow's output that says whether the condition holds.
pub(crate) const CONDITION_MET: &str = "isOrchestrationConditionMet";

/// An attempt that did not succeed.
struct AttemptError {
    code: String,
    message: String,
    retryable: bool,
    /// What the step's failure is called when there is no further attempt.
    reason: FailureReason,
}

/// What a job was made for.
#[derive(Clone, Copy)]
enum JobOf {
    /// A background step.
    Step(StepRunId),
    /// A condition.
    Condition(Condition),
}

/// A result that cannot be taken: another attempt may give one that can.
fn output_invalid(message: &str) -> AttemptError {
    AttemptError {
        code: "OUTPUT_INVALID".to_owned(),
        message: message.chars().take(MESSAGE_CHARACTERS_MAX).collect(),
        retryable: true,
        reason: FailureReason::FlowFailed,
    }
}

/// A result whose effects the submission does not take. The next attempt would bring the same ones; it may help only where it is
/// how the submission stands that is in their way.
fn effects_refused(refusal: &Refusal) -> AttemptError {
    let message = match refusal {
        Refusal::RecordInvalid { violations } => listed(violations),
        refusal => refusal.to_string(),
    };
    AttemptError {
        code: refusal.reason().to_owned(),
        message: message.chars().take(MESSAGE_CHARACTERS_MAX).collect(),
        retryable: matches!(refusal, Refusal::SubmissionStatusUnfit { .. }),
        reason: FailureReason::FlowFailed,
    }
}

fn listed(violations: &[SchemaViolation]) -> String {
    let violations: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.path, v.message)).collect();
    violations.join("; ")
}

impl Draft<'_, '_> {
    pub(super) fn report(&mut self, report: &Report) -> Result<(), Refusal> {
        let (of, job) = self.live_job(report.job, report.attempt)?;
        if job.token != report.token {
            return Err(Refusal::AttemptNotLive { attempt: report.attempt });
        }
        match &report.outcome {
            ReportOutcome::Started { worker } => {
                // A worker that was handed the same attempt again starts it again; the attempt is counted once.
                if job.status == JobStatus::Running {
                    self.heartbeat = true;
                } else {
                    let worker = worker.chars().take(CODE_CHARACTERS_MAX).collect();
                    self.emit(EventKind::JobStarted { job: report.job, attempt: report.attempt, worker });
                }
            }
            ReportOutcome::Heartbeat => self.heartbeat = true,
            ReportOutcome::Completed { output, effects } => self.complete_job(of, &job, output, effects),
            ReportOutcome::Failed { code, message, retryable } => {
                let error = AttemptError {
                    code: code.chars().take(CODE_CHARACTERS_MAX).collect(),
                    message: message.chars().take(MESSAGE_CHARACTERS_MAX).collect(),
                    retryable: *retryable,
                    reason: FailureReason::FlowFailed,
                };
                self.fail_attempt(of, &job, error);
            }
        }
        Ok(())
    }

    /// A bound of a job may have passed. That none has is no error: a heartbeat or a result came first.
    pub(super) fn job_overdue(
        &mut self,
        job: JobId,
        attempt: u32,
        heartbeat_at: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let (of, job) = self.live_job(job, attempt)?;
        let now = self.context.now;
        let retry = &job.spec.retry;
        let silent_since = job.started_at.map(|started| heartbeat_at.map_or(started, |at| at.max(started)));
        let silent_until = silent_since.zip(retry.heartbeat_timeout).map(|(at, timeout)| later(at, timeout));
        let attempt_until = job.started_at.map(|at| later(at, retry.timeout));
        let timed_out = |code: &str, message: String, retryable| AttemptError {
            code: code.to_owned(),
            message,
            retryable,
            reason: FailureReason::Timeout,
        };
        let error = if has_passed(job.total_deadline(), now) {
            let total = seconds(retry.total_timeout.unwrap_or_default());
            timed_out("TOTAL_TIMEOUT", format!("all attempts together took longer than {total}"), false)
        } else if has_passed(attempt_until, now) {
            timed_out("TIMEOUT", format!("the attempt took longer than {}", seconds(retry.timeout)), true)
        } else if has_passed(silent_until, now) {
            let silence = seconds(retry.heartbeat_timeout.unwrap_or_default());
            timed_out("HEARTBEAT_TIMEOUT", format!("the worker was silent for longer than {silence}"), true)
        } else {
            return Ok(());
        };
        self.fail_attempt(of, &job, error);
        Ok(())
    }

    /// The job and what it is of, if this attempt is the live one.
    fn live_job(&self, id: JobId, attempt: u32) -> Result<(JobOf, Job), Refusal> {
        let placed = self.state.job(id).ok_or(Refusal::JobNotFound)?;
        let job = placed.job;
        if self.state.status.is_terminal() || !job.is_live() || job.attempt != attempt {
            return Err(Refusal::AttemptNotLive { attempt });
        }
        let of = match (placed.condition, placed.step) {
            (Some(condition), _) => JobOf::Condition(condition),
            (None, Some(step)) => JobOf::Step(step.id),
            (None, None) => return Err(Refusal::JobNotFound),
        };
        Ok((of, job.clone()))
    }

    fn complete_job(&mut self, of: JobOf, job: &Job, output: &Json, effects: &[FlowEffect]) {
        let flow = self.context.flows.versions.get(&job.spec.flow);
        let schema = flow.and_then(|flow| flow.output.as_ref());
        let violations = schema.map(|schema| schema.violations(output)).unwrap_or_default();
        if !violations.is_empty() {
            self.fail_attempt(of, job, output_invalid(&listed(&violations)));
            return;
        }
        match of {
            JobOf::Step(step_run) => {
                let planned = match self.plan_effects(effects) {
                    Ok(planned) => planned,
                    Err(refusal) => return self.fail_attempt(of, job, effects_refused(&refusal)),
                };
                self.emit(EventKind::JobCompleted { job: job.id, attempt: job.attempt });
                let outputs = Arc::new(output.clone());
                self.emit(EventKind::StepCompleted { step_run, outputs, settled: None, reused: None, because: None });
                self.apply_effects(job, step_run, effects, planned);
                self.progress();
            }
            JobOf::Condition(_) if !effects.is_empty() => {
                let message = "effects: a flow that answers a condition only answers";
                self.fail_attempt(of, job, output_invalid(message));
            }
            JobOf::Condition(condition) => {
                if let Some(met) = output.get(CONDITION_MET).and_then(Json::as_bool) {
                    self.complete_evaluation(condition, job.id, job.attempt, met);
                } else {
                    let message =
                        format!("{CONDITION_MET}: true or false is needed, with which a flow answers a condition");
                    self.fail_attempt(of, job, output_invalid(&message));
                }
            }
        }
    }

    /// The next attempt, or, when there is none, the failure of the step or the condition.
    fn fail_attempt(&mut self, of: JobOf, job: &Job, error: AttemptError) {
        let retry = &job.spec.retry;
        let made = job.attempts_made();
        let stopped = error.code == WORKER_STOPPED && job.stops < STOPS_MAX;
        // It is not the flow that failed: another worker can take it up at once.
        let delay = if stopped { SignedDuration::ZERO } else { self.retry_delay(retry, made) };
        let next_at = self.context.now.checked_add(delay).unwrap_or(Timestamp::MAX);
        let may_retry = error.retryable
            && !retry.non_retryable.contains(&error.code)
            && (stopped || made < retry.max_attempts)
            && job.total_deadline().is_none_or(|deadline| next_at < deadline);
        if may_retry {
            let next_token = Token::new(self.state.id, self.context.ids.secret());
            self.emit(EventKind::JobAttemptFailed {
                job: job.id,
                attempt: job.attempt,
                code: error.code,
                message: error.message,
                next_token,
                next_at,
                stopped,
            });
            return;
        }
        let message = format!(
            "flow `{}` failed after {made} {}: {}: {}",
            job.spec.flow.name,
            if made == 1 { "attempt" } else { "attempts" },
            error.code,
            error.message
        );
        self.emit(EventKind::JobFailed { job: job.id, attempt: job.attempt, code: error.code, message: error.message });
        let failure = Failure { reason: error.reason, message };
        match of {
            JobOf::Step(step_run) => self.fail_step(step_run, failure),
            JobOf::Condition(condition) => self.fail_condition(condition, failure),
        }
        self.progress();
    }

    /// How long to wait after so many attempts: exponential, bounded, and a share of it left to chance.
    fn retry_delay(&mut self, retry: &RetryPolicy, made: u32) -> SignedDuration {
        let exponent = i32::try_from(made.saturating_sub(1)).unwrap_or(i32::MAX);
        let initial = milliseconds(retry.initial_interval).as_secs_f64();
        let longest = milliseconds(retry.max_interval).as_secs_f64();
        let delay = (initial * retry.backoff.powi(exponent)).min(longest);
        let delay = delay * (1.0 - retry.jitter * self.context.ids.fraction());
        // To the microsecond, which is what both stores keep.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounded by max_interval, and a cast from a float saturates"
        )]
        SignedDuration::from_micros((delay * 1_000_000.0) as i64)
    }
}

/// A number of milliseconds, for people.
fn seconds(count: u64) -> String {
    format!("{:#}", milliseconds(count))
}
