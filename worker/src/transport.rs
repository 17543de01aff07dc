//! The two ways to the server: AMQP, and gRPC.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    WorkerError,
    limits::Share,
    places::{Place, Places},
    proto::{Job, JobReport},
};

pub(crate) mod amqp;
pub(crate) mod grpc;

/// A job that has come in.
pub(crate) struct Incoming {
    pub(crate) job: Job,
    pub(crate) hold: Hold,
    pub(crate) place: Place,
}

/// What the server holds back for us until the job is settled.
pub(crate) enum Hold {
    /// An AMQP delivery.
    Delivery(amqp::Held),
    /// A place on the stream: the report frees it, or the end of the stream gives the job to another worker.
    Stream,
}

impl Hold {
    /// The job is done with: it does not come again.
    pub(crate) async fn done(self) {
        if let Self::Delivery(held) = self {
            held.done().await;
        }
    }

    /// The job goes back, for another worker.
    pub(crate) async fn release(self) {
        if let Self::Delivery(held) = self {
            held.release().await;
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        match self {
            Self::Delivery(held) => held.is_live(),
            Self::Stream => true,
        }
    }

    /// Whether holding it for long is a burden: a broker closes channels that hold a delivery for half an hour.
    pub(crate) fn is_delivery(&self) -> bool {
        matches!(self, Self::Delivery(_))
    }
}

/// A report was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The attempt is not live any more, or the report never will be taken.
    #[error("refused: {0}")]
    Refused(String),
    /// Not now.
    #[error("not available: {0}")]
    Unavailable(String),
}

/// A way to the server.
pub(crate) trait Transport: Send + Sync {
    /// Hands over jobs of a share as places are free until `stop`, reconnecting as needed; then gives back what it has not handed over. The sender is
    /// dropped at `stop`; what keeps the jobs ours is held until `end`.
    fn take_jobs(
        self: Arc<Self>,
        share: Share,
        places: Arc<Places>,
        jobs: mpsc::Sender<Incoming>,
        stop: CancellationToken,
        end: CancellationToken,
    ) -> BoxFuture<'static, Result<(), WorkerError>>;

    /// Reports, and waits until the report is safe: confirmed by the broker, or stored by the server.
    fn report(&self, report: JobReport) -> BoxFuture<'_, Result<(), ReportError>>;

    /// Leaves in good order.
    fn close(&self) -> BoxFuture<'_, ()>;
}
