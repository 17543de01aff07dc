//! Flows: handlers by name, and how they fail.

use std::{collections::HashMap, future::Future, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{JobContext, proto::Job};

/// Why an attempt failed: what retry policies and fault paths look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct FlowError {
    /// A short stable name such as `ERP_DOWN`.
    pub code: String,
    /// For people. The server keeps 2,000 characters.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
}

impl FlowError {
    /// A failure that another attempt may not meet.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true }
    }

    /// A failure that every attempt would meet.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::new(code, message) }
    }
}

/// A handler, whatever its types.
pub(crate) type Handler = Arc<dyn Fn(JobContext, Value) -> BoxFuture<'static, Result<Value, FlowError>> + Send + Sync>;

/// The handlers of a worker.
#[derive(Clone, Default)]
pub(crate) struct Flows {
    pub(crate) by_name: HashMap<String, Handler>,
    pub(crate) default: Option<Handler>,
    /// For jobs that bring a workflow.
    pub(crate) workflow: Option<Handler>,
}

impl Flows {
    /// What carries a job out. A workflow is what its flow's definition says, so it comes first; and the handler for all others
    /// does not take its place.
    pub(crate) fn find(&self, job: &Job) -> Option<Handler> {
        let by_name = self.by_name.get(&job.flow);
        if job.workflow.is_empty() {
            by_name.or(self.default.as_ref()).cloned()
        } else {
            self.workflow.as_ref().or(by_name).cloned()
        }
    }
}

/// Takes the types off a handler.
pub(crate) fn erase<I, O, F, Fut>(handler: F) -> Handler
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, FlowError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |context, input| {
        let handler = handler.clone();
        async move {
            // The same input comes with every attempt, and gives the same output: neither error is worth another try.
            let input = serde_json::from_value(input)
                .map_err(|error| FlowError::permanent("INPUT_INVALID", error.to_string()))?;
            let output = handler(context, input).await?;
            serde_json::to_value(output).map_err(|error| FlowError::permanent("OUTPUT_INVALID", error.to_string()))
        }
        .boxed()
    })
}
