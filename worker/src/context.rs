//! What a handler knows of its job, and how it speaks with the server while it runs.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::proto::Job;

/// The job that a handler carries out. Clones speak of the same job.
#[derive(Clone, Debug)]
pub struct JobContext {
    pub(crate) job: Arc<Job>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) beats: mpsc::Sender<()>,
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
