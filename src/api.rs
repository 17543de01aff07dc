//! The gRPC API: who calls, what they ask, and how it is said. Generated messages are converted here and go no further.

mod calendar;
mod call;
mod catalog;
mod convert;
mod delegation;
mod directory;
pub mod errors;
mod explain;
mod filter;
mod flow;
mod inbox;
mod job;
mod migrate;
mod pages;
mod preview;
mod process;
mod record;
mod screens;
mod submission;
mod versions;
mod work_item;

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};

use crate::{
    auth::Authenticator,
    proto::{
        DESCRIPTORS,
        v1::{
            calendar_service_server::CalendarServiceServer, directory_service_server::DirectoryServiceServer,
            flow_service_server::FlowServiceServer, job_service_server::JobServiceServer,
            process_service_server::ProcessServiceServer, record_service_server::RecordServiceServer,
            submission_service_server::SubmissionServiceServer, work_item_service_server::WorkItemServiceServer,
        },
    },
    scheduler::Scheduler,
};

pub use errors::REASONS;

/// How large a request may be, in bytes: 500 decisions with their comments, or a record of 256 KiB and its envelope.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many calls of one connection are carried out at once.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// What all services share.
#[derive(Clone)]
pub struct Api {
    scheduler: Scheduler,
    authenticator: Authenticator,
    held: job::Held,
    stop: CancellationToken,
}

/// The certificate and key of a server, as PEM.
pub struct Tls {
    /// The chain of certificates.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
#[error("the API could not be served: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves the API on a bound listener until `stop` is canceled and the calls under way have ended; streams end with it.
pub async fn serve(
    listener: TcpListener,
    scheduler: Scheduler,
    authenticator: Authenticator,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let api = Api { scheduler, authenticator, held: job::Held::default(), stop: stop.clone() };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SubmissionServiceServer<Api>>().await;
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    if let Some(tls) = tls {
        let identity = Identity::from_pem(tls.certificate, tls.key);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let max = REQUEST_BYTES_MAX;
    let mut router = server
        .add_service(health_service)
        .add_service(ProcessServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(FlowServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(CalendarServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(SubmissionServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(WorkItemServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(RecordServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(DirectoryServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(JobServiceServer::new(api).max_decoding_message_size(max));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router = router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "reflection is off: the descriptors are broken"),
    }
    // Of connections that are accepted here the builder knows nothing. With Nagle's algorithm a small answer waits for the client's
    // delayed acknowledgement of the one before: 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await?;
    Ok(())
}

/// Whether an address is only reachable from this machine.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}
