//! Calls over gRPC: one a connection, to an address that was checked, by a proto file that the flow brings along.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use http_body_util::Limited;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};
use quorate_workflow::{GrpcFailure, GrpcRequest, GrpcStatus, HttpFailure, VALUE_BYTES_MAX};
use serde_json::{Value, json};
use tokio::time;
use tonic::{
    Code, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
};

use super::client::{CALL_TIMEOUT, CONNECT_TIMEOUT, Client, HEADERS_BYTES_MAX};

#[cfg(test)]
mod tests;

/// The name of the flow's own proto file. No import can mean another file by it.
const FILE: &str = "flow.proto";

/// How many proto files are kept compiled: as many as workflows.
const COMPILED_MAX: usize = super::COMPILED_MAX;

/// What tonic says of an answer that is larger than it may be, as if the service had said it.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// What stands before a message: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// Proto files that were used, compiled.
#[derive(Default)]
pub(super) struct Protos(Mutex<HashMap<Arc<str>, DescriptorPool>>);

impl Protos {
    async fn get(&self, text: &Arc<str>) -> Result<DescriptorPool, GrpcFailure> {
        // A panic while the lock was held leaves the map whole: every change is one call.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(pool) = known {
            return Ok(pool);
        }
        let source = text.clone();
        let compiled = tokio::task::spawn_blocking(move || compile(source)).await;
        let pool = compiled.map_err(|error| refused(format!("the proto file cannot be compiled: {error}")))??;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= COMPILED_MAX {
            known.clear();
        }
        known.insert(text.clone(), pool.clone());
        Ok(pool)
    }
}

/// The flow's own file, and no other.
struct Own(Arc<str>);

impl FileResolver for Own {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

/// What a file imports is found among those of `google/protobuf/`, which are compiled in: nothing is read from a disk.
fn compile(text: Arc<str>) -> Result<DescriptorPool, GrpcFailure> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Own(text));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    match compiler.open_file(FILE) {
        Ok(_) => Ok(compiler.descriptor_pool()),
        Err(error) => {
            // Only this has the line, and a further line for each further error.
            let errors = format!("{error:?}");
            let first = errors.lines().next().unwrap_or_default();
            Err(refused(format!("the proto file cannot be compiled: {first}")))
        }
    }
}

/// A call, as long as every other one may take.
pub(super) async fn call(client: &Client, protos: &Protos, request: GrpcRequest) -> Result<Value, GrpcFailure> {
    client.check_secrets(&request.secrets, &request.host).map_err(failure)?;
    let method = method(&protos.get(&request.proto).await?, &request)?;
    let message = message(&method.input(), &request.arguments)?;
    let answer = time::timeout(CALL_TIMEOUT, exchange(client, &request, message)).await;
    let answer = answer.map_err(|_| GrpcFailure::Status {
        code: GrpcStatus::DeadlineExceeded,
        message: format!("{} has not answered in time", request.host),
    })??;
    let answer = DynamicMessage::decode(method.output(), answer)
        .map_err(|error| unavailable(&request.host, &format!("the answer cannot be read: {error}")))?;
    to_json(&answer).map_err(|error| unavailable(&request.host, &format!("the answer cannot be taken: {error}")))
}

fn method(pool: &DescriptorPool, request: &GrpcRequest) -> Result<MethodDescriptor, GrpcFailure> {
    let (service, name) = (&request.service, &request.method);
    let found =
        pool.get_service_by_name(service).ok_or_else(|| refused(format!("the proto file has no service {service}")))?;
    let method = found.methods().find(|method| method.name() == name);
    let method = method.ok_or_else(|| refused(format!("the service {service} has no method {name}")))?;
    if method.is_client_streaming() || method.is_server_streaming() {
        return Err(refused(format!("the method {name} of {service} streams: only one message for one can be called")));
    }
    Ok(method)
}

/// The message of the arguments. Why they are none is said without their values, which may be secrets.
fn message(kind: &MessageDescriptor, arguments: &Value) -> Result<Vec<u8>, GrpcFailure> {
    const UNKNOWN: &str = "unrecognized field name ";
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let read = |value: &Value| DynamicMessage::deserialize_with_options(kind.clone(), value, &options);
    let error = match read(arguments) {
        Ok(message) => return Ok(message.encode_to_vec()),
        Err(error) => error.to_string(),
    };
    let wrong = arguments.as_object().into_iter().flatten().find_map(|(name, value)| {
        let error = read(&json!({ name: value })).err()?.to_string();
        Some(match error.strip_prefix(UNKNOWN) {
            Some(unknown) => format!("in `{name}`, there is no field {unknown}"),
            None => format!("`{name}` is not of its type"),
        })
    });
    // Fields that are right one by one and wrong together: two of a `oneof`.
    let wrong = wrong.unwrap_or_else(|| {
        debug_assert!(!error.starts_with(UNKNOWN));
        "two fields exclude each other".to_owned()
    });
    Err(GrpcFailure::Invalid(format!("the arguments are no {}: {wrong}", kind.full_name())))
}

async fn exchange(client: &Client, request: &GrpcRequest, message: Vec<u8>) -> Result<Bytes, GrpcFailure> {
    let host = request.host.as_str();
    let stream = time::timeout(CONNECT_TIMEOUT, client.connect_grpc(host, request.port)).await;
    let (stream, scheme) = stream.map_err(|_| unavailable(host, "no connection in time"))?.map_err(failure)?;
    let authority =
        if host.contains(':') { format!("[{host}]:{}", request.port) } else { format!("{host}:{}", request.port) };
    let origin = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
    let origin = origin.map_err(|_| refused(format!("{host} is no host that can be called")))?;
    let path = PathAndQuery::try_from(format!("/{}/{}", request.service, request.method));
    let path = path.map_err(|_| refused("it is no method that can be called".to_owned()))?;

    let mut message = tonic::Request::new(Bytes::from(message));
    message.set_timeout(CALL_TIMEOUT);
    if let Some(value) = &request.authorization {
        let mut value = MetadataValue::try_from(value.as_str())
            .map_err(|_| refused("the authentication has characters that headers cannot have".to_owned()))?;
        value.set_sensitive(true);
        message.metadata_mut().insert("authorization", value);
    }

    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX));
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| unavailable(host, &error.to_string()))?;
    let answer = async {
        let mut grpc = Grpc::with_origin(Connection(sender), origin).max_decoding_message_size(VALUE_BYTES_MAX);
        grpc.ready().await.map_err(|error| unavailable(host, &error.to_string()))?;
        match grpc.unary(message, path, Bare).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(said(host, &status)),
        }
    };
    // The connection moves what is sent and received, and ends with this call.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            // It may have brought the whole answer before it ended.
            ended.map_err(|error| unavailable(host, &error.to_string()))?;
            answer.await
        }
    }
}

/// One connection. Not more than an answer may have, and its frame, is read of it.
struct Connection(SendRequest<Body>);

impl GrpcService<Body> for Connection {
    type ResponseBody = Limited<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseBody>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.send_request(request);
        Box::pin(async move { Ok(response.await?.map(|body| Limited::new(body, VALUE_BYTES_MAX + FRAME_BYTES))) })
    }
}

/// Messages as their bytes.
struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// JSON with the field names of the proto file. Fields that are not set have their default values, except where the file can
/// tell that they are not set, so that an expression finds them.
fn to_json(message: &DynamicMessage) -> Result<Value, serde_json::Error> {
    let mut json = Bounded(Vec::new());
    let mut serializer = serde_json::Serializer::new(&mut json);
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    message.serialize_with_options(&mut serializer, &options)?;
    serde_json::from_slice(&json.0)
}

/// As much JSON as a value may have: names are longer in it than in a message.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > VALUE_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {VALUE_BYTES_MAX} bytes as JSON")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the service says, or what broke on the way, which has a cause.
fn said(host: &str, status: &Status) -> GrpcFailure {
    if let Some(cause) = std::error::Error::source(status) {
        return unavailable(host, &cause.to_string());
    }
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
        return unavailable(host, &format!("the answer has more than {VALUE_BYTES_MAX} bytes"));
    }
    let code = match status.code() {
        // It is no error, and none comes with it.
        Code::Ok | Code::Unknown => GrpcStatus::Unknown,
        Code::Cancelled => GrpcStatus::Cancelled,
        Code::InvalidArgument => GrpcStatus::InvalidArgument,
        Code::DeadlineExceeded => GrpcStatus::DeadlineExceeded,
        Code::NotFound => GrpcStatus::NotFound,
        Code::AlreadyExists => GrpcStatus::AlreadyExists,
        Code::PermissionDenied => GrpcStatus::PermissionDenied,
        Code::ResourceExhausted => GrpcStatus::ResourceExhausted,
        Code::FailedPrecondition => GrpcStatus::FailedPrecondition,
        Code::Aborted => GrpcStatus::Aborted,
        Code::OutOfRange => GrpcStatus::OutOfRange,
        Code::Unimplemented => GrpcStatus::Unimplemented,
        Code::Internal => GrpcStatus::Internal,
        Code::Unavailable => GrpcStatus::Unavailable,
        Code::DataLoss => GrpcStatus::DataLoss,
        Code::Unauthenticated => GrpcStatus::Unauthenticated,
    };
    GrpcFailure::Status { code, message: status.message().to_owned() }
}

fn failure(failure: HttpFailure) -> GrpcFailure {
    match failure {
        HttpFailure::Refused(reason) => GrpcFailure::Refused(reason),
        HttpFailure::Unavailable(reason) => GrpcFailure::Unavailable(reason),
    }
}

fn refused(reason: String) -> GrpcFailure {
    GrpcFailure::Refused(reason)
}

fn unavailable(host: &str, reason: &str) -> GrpcFailure {
    GrpcFailure::Unavailable(format!("{host}: {reason}"))
}
