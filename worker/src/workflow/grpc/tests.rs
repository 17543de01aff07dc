#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{net::SocketAddr, pin::Pin};

use futures::Stream;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

use super::{
    super::{address::Networks, binding::Bindings},
    *,
};
use crate::proto::{
    JobServiceGetRequest, JobServiceGetResponse, JobServiceListRequest, JobServiceListResponse,
    JobServiceListTaskQueuesRequest, JobServiceListTaskQueuesResponse, JobServiceReportJobRequest,
    JobServiceReportJobResponse, JobServiceStreamJobsRequest, JobServiceStreamJobsResponse,
    job_service_server::{JobService, JobServiceServer},
};

/// A part of a service that this crate has a server's side of.
const PROTO: &str = r#"
syntax = "proto3";
package quorate.v1;
import "google/protobuf/timestamp.proto";
message Asked { int32 page_size = 1; string page_token = 2; string filter = 3; }
message Job { google.protobuf.Timestamp at = 9; }
message Found { repeated Job jobs = 1; string next_page_token = 2; int64 extra = 98; optional bool said = 99; }
service JobService {
  rpc List(Asked) returns (Found);
  rpc StreamJobs(Asked) returns (stream Found);
  rpc Other(Asked) returns (Found);
}
"#;

struct Lists;

#[tonic::async_trait]
impl JobService for Lists {
    type StreamJobsStream = Pin<Box<dyn Stream<Item = Result<JobServiceStreamJobsResponse, Status>> + Send>>;

    /// The filter says how it answers.
    async fn list(&self, request: Request<JobServiceListRequest>) -> Result<Response<JobServiceListResponse>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let asked = request.into_inner();
        let next_page_token = match asked.filter.as_str() {
            "large" => "x".repeat(VALUE_BYTES_MAX),
            "not found" => return Err(Status::not_found("no such list")),
            _ => format!("{} {} {}", asked.page_size, asked.page_token, authorization.unwrap_or_default()),
        };
        Ok(Response::new(JobServiceListResponse { next_page_token, ..JobServiceListResponse::default() }))
    }

    async fn stream_jobs(
        &self,
        _: Request<JobServiceStreamJobsRequest>,
    ) -> Result<Response<Self::StreamJobsStream>, Status> {
        Err(Status::unimplemented("not of these tests"))
    }

    async fn report_job(
        &self,
        _: Request<JobServiceReportJobRequest>,
    ) -> Result<Response<JobServiceReportJobResponse>, Status> {
        Err(Status::unimplemented("not of these tests"))
    }

    async fn list_task_queues(
        &self,
        _: Request<JobServiceListTaskQueuesRequest>,
    ) -> Result<Response<JobServiceListTaskQueuesResponse>, Status> {
        Err(Status::unimplemented("not of these tests"))
    }

    async fn get(&self, _: Request<JobServiceGetRequest>) -> Result<Response<JobServiceGetResponse>, Status> {
        Err(Status::unimplemented("not of these tests"))
    }
}

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(JobServiceServer::new(Lists));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn request(address: SocketAddr, method: &str, arguments: Value) -> GrpcRequest {
    GrpcRequest {
        proto: PROTO.into(),
        host: address.ip().to_string(),
        port: address.port(),
        service: "quorate.v1.JobService".to_owned(),
        method: method.to_owned(),
        authorization: None,
        arguments,
        secrets: Vec::new(),
    }
}

/// The network of these tests.
fn local() -> Networks {
    Networks { allowed: vec!["127.0.0.0/8".parse().unwrap()], denied: Vec::new() }
}

async fn called(request: GrpcRequest) -> Result<Value, GrpcFailure> {
    let client = Client::new(local(), Bindings::default());
    call(&client, &Protos::default(), request).await
}

#[tokio::test]
async fn a_call_brings_arguments_and_who_calls_and_gives_every_field() {
    let mut request = request(start().await, "List", json!({ "page_size": 7, "pageToken": "a" }));
    request.authorization = Some("Bearer s3cret".to_owned());
    let answer = json!({ "jobs": [], "next_page_token": "7 a Bearer s3cret", "extra": "0" });
    assert_eq!(called(request).await, Ok(answer));
}

#[tokio::test]
async fn what_the_service_says_is_told_apart_from_what_breaks() {
    let address = start().await;
    let said = called(request(address, "List", json!({ "filter": "not found" }))).await;
    let not_found = GrpcFailure::Status { code: GrpcStatus::NotFound, message: "no such list".to_owned() };
    assert_eq!(said, Err(not_found));
    let said = called(request(address, "Other", json!({}))).await;
    assert!(matches!(said, Err(GrpcFailure::Status { code: GrpcStatus::Unimplemented, .. })), "{said:?}");

    // Nobody is there; what is there ends the connection; and it speaks another protocol.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        drop(listener.accept().await);
        let mut stream = listener.accept().await.unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    for _ in 0..3 {
        let said = called(request(address, "List", json!({}))).await;
        assert!(matches!(said, Err(GrpcFailure::Unavailable(_))), "{said:?}");
    }
}

#[tokio::test]
async fn an_answer_is_not_larger_than_a_value() {
    let said = called(request(start().await, "List", json!({ "filter": "large" }))).await;
    assert_eq!(said, Err(unavailable("127.0.0.1", "the answer has more than 1048576 bytes")));
}

#[tokio::test]
async fn where_a_worker_may_not_call_nothing_is_called() {
    let request = request(start().await, "List", json!({}));
    let said = call(&Client::new(Networks::default(), Bindings::default()), &Protos::default(), request).await;
    assert!(matches!(said, Err(GrpcFailure::Refused(_))), "{said:?}");
}

#[tokio::test]
async fn a_secret_that_is_bound_to_another_host_is_not_sent() {
    let mut bindings = Bindings::default();
    bindings.bind("erp_token", "erp.example.com");
    // Nobody is there: what is refused does not find that out.
    let mut request = request("127.0.0.1:1".parse().unwrap(), "List", json!({}));
    request.secrets = vec!["erp_token".to_owned()];
    let said = call(&Client::new(local(), bindings), &Protos::default(), request).await;
    let refused = "this worker does not send the secret `erp_token` to 127.0.0.1";
    assert_eq!(said, Err(GrpcFailure::Refused(refused.to_owned())));
}

#[tokio::test]
async fn a_method_has_to_be_there_and_to_take_one_message_for_one() {
    let address = "127.0.0.1:1".parse().unwrap();
    for (service, method, reason) in [
        ("quorate.v1.JobService", "Nothing", "has no method"),
        ("quorate.v1.JobService", "StreamJobs", "streams"),
        ("JobService", "List", "has no service"),
    ] {
        let request = GrpcRequest { service: service.to_owned(), ..request(address, method, json!({})) };
        let Err(GrpcFailure::Refused(said)) = called(request).await else { panic!("{method} is called") };
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn a_proto_file_that_cannot_be_compiled_is_refused_on_one_line_and_no_other_file_is_read() {
    for (proto, reason) in [
        ("message {", "flow.proto:1:9: expected an identifier"),
        ("syntax = \"proto3\"; import \"/etc/passwd\"; service A {}", "flow.proto:1:27"),
        ("syntax = \"proto3\"; import \"Cargo.toml\"; service A {}", "Cargo.toml"),
        ("syntax = \"proto3\"; import \"flow.proto\"; service A {}", "flow.proto"),
    ] {
        let request = GrpcRequest { proto: proto.into(), ..request("127.0.0.1:1".parse().unwrap(), "List", json!({})) };
        let Err(GrpcFailure::Refused(said)) = called(request).await else { panic!("{proto} is taken") };
        assert!(said.contains(reason) && !said.contains('\n'), "{said}");
    }
}

#[test]
fn arguments_are_a_message_or_what_is_wrong_is_said_without_their_values() {
    let kind = compile(PROTO.into()).unwrap().get_message_by_name("quorate.v1.Asked").unwrap();
    for (arguments, reason) in [
        (json!({ "page_size": "s3cret" }), "`page_size` is not of its type"),
        (json!({ "page_size": 1, "filter": ["s3cret"] }), "`filter` is not of its type"),
        (json!({ "size": "s3cret" }), "in `size`, there is no field 'size'"),
    ] {
        let Err(GrpcFailure::Invalid(said)) = message(&kind, &arguments) else { panic!("{arguments} are taken") };
        assert_eq!(said, format!("the arguments are no quorate.v1.Asked: {reason}"));
    }
}

#[test]
fn what_is_small_as_a_message_is_not_too_large_as_json() {
    let kind = compile(PROTO.into()).unwrap().get_message_by_name("quorate.v1.Found").unwrap();
    // A list of empty messages, two bytes each.
    let read = |count: usize| DynamicMessage::decode(kind.clone(), [10, 0].repeat(count).as_slice()).unwrap();
    assert_eq!(to_json(&read(2)).unwrap()["jobs"], json!([{}, {}]));
    assert!(to_json(&read(VALUE_BYTES_MAX / 2)).is_err());
}
