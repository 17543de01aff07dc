//! Flows that every stock worker knows: for trying things out, and for tests.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time;

use crate::{
    FlowError, JobContext, WorkerBuilder,
    flow::{self, Handler},
};

/// A flow that needs no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Returns its input.
    Echo,
    /// Waits for `seconds` and `milliseconds` of its input, and returns `{}`.
    Sleep,
    /// Fails with `code`, `message` and `retryable` of its input: in every attempt, or in the first `times` ones.
    Fail,
    /// Returns `{"ok": true, "isOrchestrationConditionMet": true}`: a background step and an evaluation take it alike.
    Ok,
}

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Sleep, Self::Fail, Self::Ok];

    fn handler(self) -> Handler {
        match self {
            Self::Echo => flow::erase(|_, input: Value| async move { Ok(input) }),
            Self::Sleep => flow::erase(sleep),
            Self::Fail => flow::erase(fail),
            Self::Ok => {
                flow::erase(|_, _: Value| async move { Ok(json!({"ok": true, "isOrchestrationConditionMet": true})) })
            }
        }
    }
}

impl WorkerBuilder {
    /// Serves a flow with a built-in one.
    #[must_use]
    pub fn builtin(self, name: impl Into<String>, builtin: Builtin) -> Self {
        self.handler(name.into(), builtin.handler())
    }

    /// Serves every flow that has no handler of its own with a built-in one.
    #[must_use]
    pub fn default_builtin(mut self, builtin: Builtin) -> Self {
        self.flows.default = Some(builtin.handler());
        self
    }
}

impl fmt::Display for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Sleep => "sleep",
            Self::Fail => "fail",
            Self::Ok => "ok",
        })
    }
}

/// There is no built-in flow of this name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no built-in flow: there are echo, sleep, fail and ok")]
pub struct UnknownBuiltin(String);

impl FromStr for Builtin {
    type Err = UnknownBuiltin;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|builtin| builtin.to_string() == name).ok_or_else(|| UnknownBuiltin(name.to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sleep {
    seconds: f64,
    milliseconds: f64,
}

impl Default for Sleep {
    fn default() -> Self {
        Self { seconds: 0.0, milliseconds: 0.0 }
    }
}

async fn sleep(context: JobContext, input: Sleep) -> Result<Value, FlowError> {
    let length = Duration::try_from_secs_f64(input.seconds + input.milliseconds / 1000.0)
        .map_err(|error| FlowError::permanent("INPUT_INVALID", error.to_string()))?;
    tokio::select! {
        () = time::sleep(length) => Ok(json!({})),
        () = context.cancelled() => Err(FlowError::new("CANCELLED", "cancelled while asleep")),
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fail {
    code: String,
    message: String,
    retryable: bool,
    times: Option<u32>,
}

impl Default for Fail {
    fn default() -> Self {
        Self { code: "FAILED".to_owned(), message: "failed as asked for".to_owned(), retryable: true, times: None }
    }
}

async fn fail(context: JobContext, input: Fail) -> Result<Value, FlowError> {
    match input.times {
        Some(times) if context.attempt() > times => Ok(json!({})),
        _ => Err(FlowError { code: input.code, message: input.message, retryable: input.retryable }),
    }
}
