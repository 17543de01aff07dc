//! Layers: what is done around every handler of a worker.

use std::{future::Future, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use crate::{
    FlowError, JobContext,
    flow::{Flows, Handler},
};

/// What a handler is inside a layer: the layers that were added after it, and the handler itself.
#[derive(Clone)]
pub struct Next(Handler);

impl Next {
    /// Carries the job out with this input, and gives what became of it: an output, or an error. The input need not be the one that
    /// came, nor the output the one that goes.
    ///
    /// Whatever the handler fails with, or `INPUT_INVALID` and `OUTPUT_INVALID` where its types do not fit. A handler that panics
    /// takes the layers around it with it.
    pub async fn run(self, job: JobContext, input: Value) -> Result<Value, FlowError> {
        (self.0)(job, input).await
    }
}

/// A layer, whatever its types.
pub(crate) type Layer =
    Arc<dyn Fn(JobContext, Value, Next) -> BoxFuture<'static, Result<Value, FlowError>> + Send + Sync>;

/// Takes the types off a layer.
pub(crate) fn erase<F, Fut>(layer: F) -> Layer
where
    F: Fn(JobContext, Value, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, FlowError>> + Send + 'static,
{
    Arc::new(move |job, input, next| layer(job, input, next).boxed())
}

/// The handlers with all layers around each: the first that was added is the outermost.
pub(crate) fn wrap_all(flows: Flows, layers: &[Layer]) -> Flows {
    let wrap = |handler| layers.iter().rev().fold(handler, wrap);
    Flows {
        by_name: flows.by_name.into_iter().map(|(name, handler)| (name, wrap(handler))).collect(),
        default: flows.default.map(wrap),
        workflow: flows.workflow.map(wrap),
    }
}

fn wrap(inner: Handler, layer: &Layer) -> Handler {
    let layer = layer.clone();
    Arc::new(move |job, input| layer(job, input, Next(inner.clone())))
}
