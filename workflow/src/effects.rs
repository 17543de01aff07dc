//! All that a run knows of the world.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What a run asks of the world.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Sends a request, and follows no redirection.
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure>;

    /// Calls a unary method over gRPC, and gives its answer in the proto3 mapping to JSON.
    async fn grpc(&self, request: GrpcRequest) -> Result<Value, GrpcFailure>;

    /// Hands a mail to the mail server.
    async fn mail(&self, mail: Mail) -> Result<(), MailFailure>;

    /// The secret of this name; `None` where there is none.
    fn secret(&self, name: &str) -> Option<String>;

    /// Waits.
    async fn sleep(&self, length: Duration);

    /// The time.
    fn now(&self) -> Timestamp;

    /// A number from 0 to below 1, at random: where in its range a retry's jitter is.
    fn random(&self) -> f64;
}

/// A request to send. Not for logs: its headers may hold secrets, and its `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// In capital letters.
    pub method: String,
    /// An absolute URI, `http` or `https`.
    pub uri: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// The names of the secrets that may be in it.
    pub secrets: Vec<String>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// What was sent, whole.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// The worker is not allowed to call there, or cannot: every attempt would meet it.
    #[error("{0}")]
    Refused(String),
    /// No connection, or one that broke.
    #[error("{0}")]
    Unavailable(String),
}

/// A unary call over gRPC. Not for logs: it may hold secrets, and has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct GrpcRequest {
    /// The text of the proto file that has the service; what it imports are the files of `google/protobuf/` only.
    pub proto: Arc<str>,
    /// A name, or an address without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// With its package.
    pub service: String,
    /// Its name alone.
    pub method: String,
    /// The value of the header that shows who calls.
    pub authorization: Option<String>,
    /// The method's message as an object, in the proto3 mapping to JSON.
    pub arguments: Value,
    /// The names of the secrets that may be in it.
    pub secrets: Vec<String>,
}

/// Why a call over gRPC gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrpcFailure {
    /// The worker is not allowed to call there, or the proto file has no such method: every attempt would meet it.
    #[error("{0}")]
    Refused(String),
    /// The arguments are no message of the method's.
    #[error("{0}")]
    Invalid(String),
    /// No connection, or one that broke.
    #[error("{0}")]
    Unavailable(String),
    /// The service says so.
    #[error("{code:?}: {message}")]
    Status {
        /// What kind of error it is.
        code: GrpcStatus,
        /// What the service says of it.
        message: String,
    },
}

/// The statuses of gRPC that are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of gRPC, by their names")]
pub enum GrpcStatus {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// A mail to send. Not for logs: it is personal, and has no `Debug`.
#[derive(Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mail {
    /// Of the job and the task: the same when it is sent again, so that a repeat can be told from another mail.
    pub id: String,
    /// Who sends it; the worker's sender where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Addresses, with or without a name before them: no more than [`crate::RECIPIENTS_MAX`] with those of `cc`.
    pub to: Vec<String>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// One line.
    pub subject: String,
    /// What is read where HTML is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same as HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

/// Why a mail was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailFailure {
    /// The worker has no mail server, or no sender.
    #[error("{0}")]
    NotConfigured(String),
    /// It is no mail that can be sent: an address is none.
    #[error("{0}")]
    Invalid(String),
    /// The mail server does not let the worker in.
    #[error("{0}")]
    Unauthenticated(String),
    /// The mail server does not take it, and will not later.
    #[error("{0}")]
    Rejected(String),
    /// The mail server is not there, or does not take it now.
    #[error("{0}")]
    Unavailable(String),
}

/// What a run does to its submission. It travels with the result, and is applied with it or not at all.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEffect {
    /// It says something.
    Comment(String),
    /// It changes the record's data, by a merge patch (RFC 7396).
    RecordPatch(Map<String, Value>),
    /// It tells other systems something.
    Event(ToldEvent),
}

/// An event for other systems: what a flow may say of a `CloudEvent`. Its id and its time are the server's.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ToldEvent {
    /// What kind of thing it tells: 1 to 200 of `A-Z a-z 0-9 . _ -`, and not beginning with `quorate.`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it happened.
    pub source: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The schema of its data: a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// Any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}
