//! Errors of a run, as the DSL has them: problem details (RFC 7807).

use std::fmt;

use serde_json::{Value, json};

use crate::{GrpcFailure, HttpFailure, MailFailure, grpc};

/// What the types of the standard errors begin with.
const STANDARD: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";

/// Statuses below 500 that another attempt may not meet: a timeout, a request that came too early, one too many.
const RETRYABLE: [u16; 3] = [408, 425, 429];

/// What stands in a text in a secret's place.
const WITHHELD: &str = "***";

/// An error of a run: what `catch` looks at, and what fails the job where nothing catches it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Problem {
    /// A URI that names the kind of error.
    pub kind: String,
    /// As in HTTP.
    pub status: u16,
    /// What kind of error it is, for people.
    pub title: Option<String>,
    /// What happened, for people.
    pub detail: Option<String>,
    /// The task, as a JSON pointer into the document.
    pub instance: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.title, &self.detail) {
            (Some(title), Some(detail)) => write!(f, "{title}: {detail}")?,
            (Some(text), None) | (None, Some(text)) => f.write_str(text)?,
            (None, None) => write!(f, "{} (status {})", self.kind, self.status)?,
        }
        match &self.instance {
            Some(instance) => write!(f, " (at {instance})"),
            None => Ok(()),
        }
    }
}

impl Problem {
    fn standard(name: &str, status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{STANDARD}{name}"),
            status,
            title: Some(title.to_owned()),
            detail: Some(detail.into()),
            instance: None,
        }
    }

    pub(crate) fn configuration(detail: impl Into<String>) -> Self {
        Self::standard("configuration", 400, "Configuration error", detail)
    }

    pub(crate) fn validation(detail: impl Into<String>) -> Self {
        Self::standard("validation", 400, "Validation error", detail)
    }

    pub(crate) fn expression(detail: impl Into<String>) -> Self {
        Self::standard("expression", 400, "Expression error", detail)
    }

    pub(crate) fn timeout(detail: impl Into<String>) -> Self {
        Self::standard("timeout", 408, "Timeout", detail)
    }

    /// A service has not answered in the time that it gives itself.
    pub(crate) fn timeout_of_a_service(detail: impl Into<String>) -> Self {
        Self::standard("timeout", 504, "Timeout", detail)
    }

    pub(crate) fn communication(status: u16, detail: impl Into<String>) -> Self {
        Self::standard("communication", status, "Communication error", detail)
    }

    pub(crate) fn authentication(detail: impl Into<String>) -> Self {
        Self::standard("authentication", 401, "Authentication error", detail)
    }

    pub(crate) fn authorization(detail: impl Into<String>) -> Self {
        Self::standard("authorization", 403, "Authorization error", detail)
    }

    /// What the worker cannot go on with, and another attempt may.
    pub(crate) fn runtime(detail: impl Into<String>) -> Self {
        Self::standard("runtime", 500, "Runtime error", detail)
    }

    /// It happened in this task, unless a task inside it says so already.
    pub(crate) fn at(mut self, pointer: &str) -> Self {
        self.instance.get_or_insert_with(|| pointer.to_owned());
        self
    }

    /// Without these words in its texts.
    pub(crate) fn without(mut self, words: &[String]) -> Self {
        for text in [Some(&mut self.kind), self.title.as_mut(), self.detail.as_mut()].into_iter().flatten() {
            for word in words.iter().filter(|word| !word.is_empty()) {
                if text.contains(word.as_str()) {
                    *text = text.replace(word.as_str(), WITHHELD);
                }
            }
        }
        self
    }

    pub(crate) fn value(&self) -> Value {
        let mut value = json!({"type": self.kind, "status": self.status});
        for (name, text) in [("title", &self.title), ("detail", &self.detail), ("instance", &self.instance)] {
            if let Some(text) = text {
                value[name] = text.as_str().into();
            }
        }
        value
    }

    /// Whether another attempt may not meet it, which its status says: 500 and above, 408, 425 and 429.
    pub fn is_retryable(&self) -> bool {
        self.status >= 500 || RETRYABLE.contains(&self.status)
    }

    /// The last word of its type, as codes are written: `OVER_BUDGET` for `https://example.com/errors/over-budget`.
    pub fn code(&self) -> String {
        let last = self.kind.trim_end_matches('/').rsplit(['/', ':', '#']).next().unwrap_or_default();
        let code: String =
            last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        if code.is_empty() { "WORKFLOW".to_owned() } else { code }
    }
}

impl From<HttpFailure> for Problem {
    fn from(failure: HttpFailure) -> Self {
        match failure {
            HttpFailure::Refused(reason) => Self::configuration(reason),
            HttpFailure::Unavailable(reason) => Self::communication(503, reason),
        }
    }
}

impl From<GrpcFailure> for Problem {
    fn from(failure: GrpcFailure) -> Self {
        match failure {
            GrpcFailure::Refused(reason) => Self::configuration(reason),
            GrpcFailure::Invalid(reason) => Self::validation(reason),
            GrpcFailure::Unavailable(reason) => Self::communication(503, reason),
            GrpcFailure::Status { code, message } => grpc::problem(code, &message),
        }
    }
}

impl From<MailFailure> for Problem {
    fn from(failure: MailFailure) -> Self {
        match failure {
            MailFailure::NotConfigured(reason) => Self::configuration(reason),
            MailFailure::Invalid(reason) => Self::validation(reason),
            MailFailure::Unauthenticated(reason) => Self::authentication(reason),
            MailFailure::Rejected(reason) => Self::communication(422, reason),
            MailFailure::Unavailable(reason) => Self::communication(503, reason),
        }
    }
}
