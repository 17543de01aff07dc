//! An HTTP client for flows: one request a connection, to an address that was checked, and nothing followed.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue, USER_AGENT},
    http::uri::Scheme,
};
use hyper_util::rt::TokioIo;
use quorate_workflow::{HttpFailure, HttpRequest, HttpResponse, VALUE_BYTES_MAX};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tracing::warn;

use super::{
    address::{Networks, is_public},
    binding::Bindings,
};

/// How long finding a host and connecting to it takes: a host that does not answer within this is away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call takes in all. What takes longer is better started by one call and asked for by others.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How many bytes of headers an answer has.
pub(super) const HEADERS_BYTES_MAX: usize = 64 * 1024;

const TLS_PORT: u16 = 443;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("quorate-worker/", env!("CARGO_PKG_VERSION")));

/// What gRPC is spoken over, as TLS names it.
const HTTP_2: &[u8] = b"h2";

pub(super) struct Client {
    networks: Networks,
    bindings: Bindings,
    tls: OnceLock<Option<TlsConnector>>,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    pub(super) fn new(networks: Networks, bindings: Bindings) -> Self {
        Self { networks, bindings, tls: OnceLock::new() }
    }

    /// Whether these secrets may go to this host; otherwise why nothing is sent.
    pub(super) fn check_secrets(&self, secrets: &[String], host: &str) -> Result<(), HttpFailure> {
        match self.bindings.refuse(secrets, host) {
            None => Ok(()),
            Some(secret) => Err(refused(&format!("this worker does not send the secret `{secret}` to {host}"))),
        }
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let uri: Uri = request.uri.parse().map_err(|_| refused("it is no URI that can be called"))?;
        let authority = uri.authority().ok_or_else(|| refused("the URI has no host"))?;
        // Such names and passwords would stand in histories; there are headers for them.
        if authority.as_str().contains('@') {
            return Err(refused("a URI has no user and no password"));
        }
        let is_tls = if uri.scheme() == Some(&Scheme::HTTPS) {
            true
        } else if uri.scheme() == Some(&Scheme::HTTP) {
            false
        } else {
            return Err(refused("a URI has to begin with http:// or https://"));
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        self.check_secrets(&request.secrets, &host)?;
        let port = authority.port_u16().unwrap_or(if is_tls { TLS_PORT } else { 80 });
        let message = message(&request, &uri)?;
        let call = async {
            let stream = time::timeout(CONNECT_TIMEOUT, self.connect(&host, port, is_tls)).await;
            let stream = stream.map_err(|_| unavailable(&host, "no connection in time"))??;
            exchange(stream, message, &host).await
        };
        time::timeout(CALL_TIMEOUT, call).await.map_err(|_| unavailable(&host, "no answer in time"))?
    }

    async fn connect(&self, host: &str, port: u16, is_tls: bool) -> Result<Box<dyn Stream>, HttpFailure> {
        let stream = self.reach(host, port).await?;
        if is_tls { self.encrypt(host, stream, &[]).await } else { Ok(Box::new(stream)) }
    }

    /// For gRPC, which names no scheme: over TLS, except to an address that is not public and not at the port of TLS. Which
    /// it is depends on what is connected to, so that no name and no answer of a name server turns a call to elsewhere into
    /// one that can be read.
    pub(super) async fn connect_grpc(&self, host: &str, port: u16) -> Result<(Box<dyn Stream>, Scheme), HttpFailure> {
        let stream = self.reach(host, port).await?;
        let peer = stream.peer_addr().map_err(|error| unavailable(host, &error.to_string()))?;
        if needs_tls(peer) {
            Ok((self.encrypt(host, stream, &[HTTP_2]).await?, Scheme::HTTPS))
        } else {
            Ok((Box::new(stream), Scheme::HTTP))
        }
    }

    /// Connects to an address that is allowed. The name is looked up once: what was checked is what is connected to.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, HttpFailure> {
        let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(unavailable(host, &error.to_string())),
        };
        let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| self.networks.allow(address.ip())).collect();
        if allowed.is_empty() {
            let message = format!(
                "flows may not call {host}: it has no public address, is this host, or its network is not allowed"
            );
            return Err(HttpFailure::Refused(message));
        }
        let stream = TcpStream::connect(allowed.as_slice()).await;
        stream.map_err(|error| unavailable(host, &error.to_string()))
    }

    async fn encrypt(
        &self,
        host: &str,
        stream: TcpStream,
        protocols: &[&[u8]],
    ) -> Result<Box<dyn Stream>, HttpFailure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| refused("the host's name cannot be checked"))?;
        let tls = self.tls.get_or_init(connector).as_ref();
        let tls = tls.ok_or_else(|| unavailable(host, "this worker has no certificates to check servers against"))?;
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = tls.with_alpn(protocols).connect(name, stream).await;
        let stream = stream.map_err(|error| unavailable(host, &error.to_string()))?;
        Ok(Box::new(stream))
    }
}

/// Whether a call over gRPC to this address is encrypted.
fn needs_tls(peer: SocketAddr) -> bool {
    peer.port() == TLS_PORT || is_public(peer.ip())
}

/// Servers are checked against the certificates that the system trusts.
fn connector() -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "certificates of the system could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return None;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

fn message(request: &HttpRequest, uri: &Uri) -> Result<Request<Full<Bytes>>, HttpFailure> {
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let host = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let mut builder = Request::builder().method(request.method.as_str()).uri(path).header(HOST, host);
    if !request.headers.iter().any(|(name, _)| name == USER_AGENT.as_str()) {
        builder = builder.header(USER_AGENT, AGENT);
    }
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| refused(&format!("the header `{name}` has characters that headers cannot have")))?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
    }
    builder.body(Full::from(request.body.clone())).map_err(|error| refused(&error.to_string()))
}

async fn exchange(
    stream: Box<dyn Stream>,
    message: Request<Full<Bytes>>,
    host: &str,
) -> Result<HttpResponse, HttpFailure> {
    let failed = |error: hyper::Error| unavailable(host, &error.to_string());
    let builder = http1::Builder::new().max_buf_size(HEADERS_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = builder.await.map_err(failed)?;
    let answer = async {
        let (parts, body) = sender.send_request(message).await.map_err(failed)?.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        let body = whole(body, host).await?;
        Ok(HttpResponse { status: parts.status.as_u16(), headers, body })
    };
    // The connection moves what is sent and received, and ends with this call.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            // It may have brought the whole answer before it ended.
            ended.map_err(failed)?;
            answer.await
        }
    }
}

async fn whole(body: Incoming, host: &str) -> Result<Vec<u8>, HttpFailure> {
    let collected = Limited::new(body, VALUE_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| unavailable(host, &error.to_string()))?.to_bytes().to_vec())
}

fn refused(reason: &str) -> HttpFailure {
    HttpFailure::Refused(reason.to_owned())
}

fn unavailable(host: &str, reason: &str) -> HttpFailure {
    HttpFailure::Unavailable(format!("{host}: {reason}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_secret_that_is_bound_to_another_host_is_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                received.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(received).unwrap()
        });
        let mut bindings = Bindings::default();
        bindings.bind("erp_token", "erp.example.com");
        bindings.bind("other", "127.0.0.1");
        let networks = Networks { allowed: vec!["127.0.0.0/8".parse().unwrap()], denied: Vec::new() };
        let client = Client::new(networks, bindings);
        let request = |path: &str, secret: &str| HttpRequest {
            method: "GET".to_owned(),
            uri: format!("http://{address}/{path}"),
            headers: Vec::new(),
            body: Vec::new(),
            secrets: vec![secret.to_owned()],
        };
        let refused = "this worker does not send the secret `erp_token` to 127.0.0.1";
        assert_eq!(client.send(request("first", "erp_token")).await, Err(HttpFailure::Refused(refused.to_owned())));
        // The first that arrives is the one whose secret may go there.
        assert_eq!(client.send(request("second", "other")).await.unwrap().status, 204);
        assert!(server.await.unwrap().starts_with("GET /second HTTP/1.1"));
    }

    #[test]
    fn a_call_over_grpc_is_encrypted_unless_it_stays_in_a_network_of_ones_own() {
        for address in ["93.184.216.34:50051", "[2606:4700::1111]:50051", "10.1.0.1:443", "127.0.0.1:443"] {
            assert!(needs_tls(address.parse().unwrap()), "{address}");
        }
        for address in ["10.1.0.1:50051", "127.0.0.1:50051", "[fd00::1]:8443", "[::ffff:10.1.0.1]:50051"] {
            assert!(!needs_tls(address.parse().unwrap()), "{address}");
        }
    }
}
