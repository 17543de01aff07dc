//! The client of a Quorate server: one connection, who calls, and calling again where that is safe.

use std::{error::Error, fmt, io, str::FromStr, time::Duration};

use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    cli::Failure,
    proto::v1::{
        calendar_service_client::CalendarServiceClient, directory_service_client::DirectoryServiceClient,
        flow_service_client::FlowServiceClient, job_service_client::JobServiceClient,
        process_service_client::ProcessServiceClient, record_service_client::RecordServiceClient,
        submission_service_client::SubmissionServiceClient, work_item_service_client::WorkItemServiceClient,
    },
};

/// How often a call is made where the server is unavailable. Three spans a restart of a server behind a load balancer
/// and still answers a person within a second.
const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; twice as long before the third.
const RETRY_DELAY: Duration = Duration::from_millis(150);
/// How long a connection may take to come about: beyond that, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers carry whole lists of submissions with their records (256 KiB each); tonic's own bound is 4 MiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection with the caller's name or token on every call.
pub(crate) type Caller = InterceptedService<Channel, Identity>;

/// An API token. It is never printed.
#[derive(Clone)]
pub(crate) struct Token(String);

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl Token {
    /// The text to send, and to show to nobody.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Where the server is, and who calls.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) server: String,
    /// Sent as `quorate-user`, which only a development server heeds.
    pub(crate) user: Option<String>,
    pub(crate) token: Option<Token>,
    /// Of one call; streams are not limited.
    pub(crate) timeout: Duration,
}

impl Connection {
    /// Opens a connection, so that a server that is not there is found out before anything is sent.
    pub(crate) async fn open(&self) -> Result<Channel, Failure> {
        let unusable = |error: &dyn fmt::Display| Failure::Usage(format!("--server {}: {error}", self.server));
        let mut endpoint = Endpoint::from_shared(self.server.clone())
            .map_err(|error| unusable(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unusable(&error))?;
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint =
                endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots()).map_err(|error| unusable(&error))?;
        }
        endpoint.connect().await.map_err(|error| self.cannot_reach(&error))
    }

    /// A refused connection needs no reason, only advice; others (a name that is not known, a certificate) do.
    fn cannot_reach(&self, error: &(dyn Error + 'static)) -> Failure {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                return Failure::CannotReach { server: self.server.clone(), reason: String::new() };
            }
            reason = error.to_string();
            cause = error.source();
        }
        Failure::CannotReach { server: self.server.clone(), reason }
    }
}

/// Puts the caller, and the time that a call may take, on each request.
#[derive(Clone)]
pub(crate) struct Identity {
    user: Option<MetadataValue<Ascii>>,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

impl Identity {
    fn new(connection: &Connection) -> Result<Self, Failure> {
        let user = connection.user.as_deref().map(MetadataValue::from_str).transpose();
        let user = user.map_err(|_| Failure::Usage("--as: a name is printable ASCII".to_owned()))?;
        let bearer = connection.token.as_ref().map(|Token(token)| format!("Bearer {token}"));
        let authorization = bearer.as_deref().map(MetadataValue::from_str).transpose();
        let mut authorization =
            authorization.map_err(|_| Failure::Usage("--token: a token is printable ASCII".to_owned()))?;
        if let Some(value) = &mut authorization {
            // Keeps it out of debug output, and out of the header compression's table.
            value.set_sensitive(true);
        }
        Ok(Self { user, authorization, timeout: Some(connection.timeout) })
    }
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(user) = &self.user {
            request.metadata_mut().insert("quorate-user", user.clone());
        }
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

/// A client of one server. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    identity: Identity,
    connection: Connection,
}

/// Writes the accessors of the generated clients: they differ in nothing but their names.
macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self) -> $client<Caller> {
            $client::with_interceptor(self.channel.clone(), self.identity.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX)
        }
    )*};
}

impl Client {
    /// Connects to the server.
    pub(crate) async fn connect(connection: Connection) -> Result<Self, Failure> {
        let identity = Identity::new(&connection)?;
        let channel = connection.open().await?;
        Ok(Self { channel, identity, connection })
    }

    services! {
        /// `SubmissionService`.
        submissions: SubmissionServiceClient;
        /// `WorkItemService`.
        work_items: WorkItemServiceClient;
        /// `ProcessService`.
        processes: ProcessServiceClient;
        /// `FlowService`.
        flows: FlowServiceClient;
        /// `CalendarService`.
        calendars: CalendarServiceClient;
        /// `DirectoryService`.
        directory: DirectoryServiceClient;
        /// `JobService`.
        jobs: JobServiceClient;
        /// `RecordService`.
        records: RecordServiceClient;
    }

    /// The same client without a limit of time: for streams.
    pub(crate) fn unhurried(&self) -> Self {
        Self { identity: Identity { timeout: None, ..self.identity.clone() }, ..self.clone() }
    }

    /// Where it goes, and who calls.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes a call, and makes it again where the server is unavailable. The closure must send the same `request_id`
    /// each time: by it the server knows a repetition, and gives the first answer again.
    pub(crate) async fn call<T>(&self, call: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T, Failure> {
        let mut attempt = 1;
        loop {
            match call().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if is_unavailable(&status) && attempt < ATTEMPTS_MAX => pause_before_retry(attempt).await,
                Err(status) => return Err(self.failure(status)),
            }
            attempt += 1;
        }
    }

    /// A status that never came from the server is about the way there.
    pub(crate) fn failure(&self, status: Status) -> Failure {
        if is_unavailable(&status) && status.source().is_some() {
            return Failure::CannotReach {
                server: self.connection.server.clone(),
                reason: "the connection was lost".to_owned(),
            };
        }
        if status.code() == Code::Cancelled && status.message() == tonic::TimeoutExpired(()).to_string() {
            return Failure::Failed(format!(
                "{} did not answer in time (--timeout); whether it did what was asked is not known",
                self.connection.server
            ));
        }
        status.into()
    }
}

/// How often in a row a stream may break before it is given up.
pub(crate) const STREAM_ATTEMPTS_MAX: u32 = 2 * ATTEMPTS_MAX;

/// Waits before the attempt after this one: 150 ms, 300 ms, …
pub(crate) async fn pause_before_retry(attempt: u32) {
    tokio::time::sleep(RETRY_DELAY * 2_u32.saturating_pow(attempt.saturating_sub(1).min(4))).await;
}

/// Whether nothing is wrong with the request itself: the server said UNAVAILABLE, or the connection broke (which tonic
/// reports as UNKNOWN, INTERNAL or CANCELLED with a cause, its own or the HTTP library's; a status that came from the server has no
/// cause). A call that took too long has a cause too, and is not made again.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    let broken = || {
        status.source().is_some()
            && matches!(status.code(), Code::Unknown | Code::Cancelled | Code::Internal)
            && status.message() != tonic::TimeoutExpired(()).to_string()
    };
    status.code() == Code::Unavailable || broken()
}

/// An id for a mutating request: the same through all attempts of it.
pub(crate) fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let connection = Connection {
            server: "http://127.0.0.1:1".into(),
            user: None,
            token: Some("s3cret".parse().unwrap()),
            timeout: Duration::from_secs(1),
        };
        assert!(!format!("{connection:?}").contains("s3cret"));
        let identity = Identity::new(&connection).unwrap();
        assert!(!format!("{:?}", identity.authorization).contains("s3cret"));
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_as_such() {
        // Bound, so that nobody else gets it, and nobody listens.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let connection = Connection {
            server: format!("http://{address}"),
            user: None,
            token: None,
            timeout: Duration::from_secs(1),
        };
        let failure = connection.open().await.unwrap_err();
        assert!(matches!(&failure, Failure::CannotReach { reason, .. } if reason.is_empty()), "{failure:?}");
    }
}
