//! All that a run knows of the world.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

/// What a run asks of the world.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Sends a request, and follows no redirection.
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure>;

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
