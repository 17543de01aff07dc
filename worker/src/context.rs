//! What a handler knows of its job, and how it speaks with the server while it runs.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use serde::Serialize;

use crate::{EmittedEvent, FlowError, effects::Effects, proto::Job};

/// The job that a handler carries out. Clones speak of the same job.
#[derive(Clone, Debug)]
pub struct JobContext {
    pub(crate) job: Arc<Job>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) beats: mpsc::Sender<()>,
    pub(crate) effects: Effects,
}

impl JobContext {
    /// The job's id: the same in every attempt.
    pub fn job(&self) -> &str {
        &self.job.job
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// `AUTOLAUNCHED`, or `EVALUATION` where the output has to be `isOrchestrationConditionMet`.
    pub fn kind(&self) -> &str {
        &self.job.kind
    }

    /// The flow's name.
    pub fn flow(&self) -> &str {
        &self.job.flow
    }

    /// The flow version that the step run is bound to.
    pub fn flow_version(&self) -> u32 {
        self.job.flow_version
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.job.tenant
    }

    /// The submission's id.
    pub fn submission(&self) -> &str {
        &self.job.submission
    }

    /// The process's name.
    pub fn process(&self) -> &str {
        &self.job.process
    }

    /// The stage's name.
    pub fn stage(&self) -> &str {
        &self.job.stage
    }

    /// The step's name.
    pub fn step(&self) -> &str {
        &self.job.step
    }

    /// When the server gives up on all attempts together, where there is such a limit.
    pub fn deadline(&self) -> Option<Timestamp> {
        let deadline = self.job.deadline?;
        Timestamp::new(deadline.seconds, deadline.nanos).ok()
    }

    /// The W3C trace context that the job belongs to; empty where there is none.
    pub fn traceparent(&self) -> &str {
        &self.job.traceparent
    }

    /// Tells the server that the handler is alive. Answers at once: the heartbeat is sent in the background, and calls in
    /// quick succession are sent as one. Needed only by workers that are built with `manual_heartbeat`.
    pub fn heartbeat(&self) {
        // A full channel means that one is about to be sent.
        let _ = self.beats.try_send(());
    }

    /// Comments on the submission, in the flow's name. As every effect it is sent with the flow's result, and applied with it exactly
    /// once; where the flow fails, it never is.
    ///
    /// `EFFECT_INVALID`, not retryable: the comment is empty or longer than 4,000 bytes, or the flow has 50 effects already.
    pub fn comment(&self, comment: impl Into<String>) -> Result<(), FlowError> {
        self.effects()?.comment(comment.into())
    }

    /// Changes the record's data by a merge patch (RFC 7396): a field that is `null` is taken away. All patches of a flow are one
    /// change, by the rules of everybody's changes (`on_change` of the process). One that breaks the record's schema fails the
    /// attempt with `RECORD_INVALID`.
    ///
    /// `EFFECT_INVALID`, not retryable: it is no object, it is nested too deep, or the flow has 50 effects already.
    pub fn update_record(&self, patch: impl Serialize) -> Result<(), FlowError> {
        self.effects()?.patch_record(patch)
    }

    /// Tells other systems something, by the exchange `quorate.events`.
    ///
    /// `EFFECT_INVALID`, not retryable: its type or another attribute cannot be, its data is nested too deep, or the flow has 50
    /// effects already.
    pub fn emit(&self, event: &EmittedEvent) -> Result<(), FlowError> {
        self.effects()?.emit(event)
    }

    fn effects(&self) -> Result<&Effects, FlowError> {
        if self.kind() == "EVALUATION" {
            return Err(FlowError::permanent("EFFECT_INVALID", "a flow that answers a condition only answers"));
        }
        Ok(&self.effects)
    }

    /// Ends when the result does not count any more: the attempt has run out of time, the server has refused it, or the
    /// worker stops. A handler that does not return within five seconds after that is dropped.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// The token behind [`JobContext::cancelled`], to hand on.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancelled
    }
}
