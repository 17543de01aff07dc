//! `call: grpc`: what is called, and the proto file that the document carries.

use std::{net::Ipv6Addr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{GrpcStatus, PROTO_BYTES_MAX, Problem, expression::Template, http::Authentication};

/// How long a host's name is (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// How much of what a service says of its refusal is told.
const MESSAGE_CHARS_MAX: usize = 200;

/// What a resource's URI begins with that carries the resource.
const DATA: &str = "data:";

/// A call as it is written.
#[derive(Debug)]
pub(crate) struct GrpcCall {
    /// The text of the proto file.
    pub(crate) proto: Arc<str>,
    pub(crate) host: Template,
    pub(crate) port: u16,
    pub(crate) authentication: Option<Authentication>,
    /// With its package.
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) arguments: Option<Template>,
}

/// The text in a `data:` URI (RFC 2397).
pub(crate) fn data(uri: &str) -> Result<String, String> {
    let rest = match uri.get(..DATA.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(DATA) => &uri[DATA.len()..],
        _ => {
            return Err(
                "only `data:` URIs are supported, so that a flow is one whole and nothing is fetched while it runs: \
                        `data:text/plain;base64,` and the proto file in base64"
                    .to_owned(),
            );
        }
    };
    let (media, content) = rest.split_once(',').ok_or("a `data:` URI has a `,` before its data")?;
    let is_base64 = media.rsplit(';').next().is_some_and(|last| last.eq_ignore_ascii_case("base64"));
    let mut bytes = percent_decoded(content)?;
    if is_base64 {
        bytes = BASE64.decode(bytes).map_err(|_| "what follows the `,` is no base64")?;
    }
    if bytes.is_empty() || bytes.len() > PROTO_BYTES_MAX {
        return Err(format!("a proto file has 1 to {PROTO_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "a proto file is UTF-8".to_owned())
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '%' {
            let mut digit = || rest.next().and_then(|c| c.to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit(), digit());
            let byte = high.zip(low).map(|(high, low)| high << 4 | low);
            bytes.push(byte.ok_or("a `%` has to be followed by two hexadecimal digits")?);
        } else if c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()*+,;=".contains(c) {
            // An ASCII character is one byte.
            bytes.push(c as u8);
        } else {
            return Err(format!("{c:?} cannot stand in a URI: write it as `%` and two digits, or the whole in base64"));
        }
    }
    Ok(bytes)
}

/// A name of a service with its package, or of a method.
pub(crate) fn is_name(name: &str) -> bool {
    name.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether it is a host, and nothing that would turn an address into another one.
pub(crate) fn is_host(host: &str) -> bool {
    let is_name = !host.is_empty()
        && host.len() <= HOST_BYTES_MAX
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name || host.parse::<Ipv6Addr>().is_ok()
}

/// The error that a status is. HTTP's statuses are those of `google/rpc/code.proto`.
pub(crate) fn problem(code: GrpcStatus, message: &str) -> Problem {
    let told: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
    let detail = |name: &str| match told.as_str() {
        "" => format!("the service answers {name}"),
        told => format!("the service answers {name}: {told}"),
    };
    match code {
        GrpcStatus::Cancelled => Problem::communication(499, detail("CANCELLED")),
        GrpcStatus::Unknown => Problem::communication(500, detail("UNKNOWN")),
        GrpcStatus::InvalidArgument => Problem::communication(400, detail("INVALID_ARGUMENT")),
        GrpcStatus::DeadlineExceeded => Problem::timeout_of_a_service(detail("DEADLINE_EXCEEDED")),
        GrpcStatus::NotFound => Problem::communication(404, detail("NOT_FOUND")),
        GrpcStatus::AlreadyExists => Problem::communication(409, detail("ALREADY_EXISTS")),
        GrpcStatus::PermissionDenied => Problem::authorization(detail("PERMISSION_DENIED")),
        GrpcStatus::ResourceExhausted => Problem::communication(429, detail("RESOURCE_EXHAUSTED")),
        GrpcStatus::FailedPrecondition => Problem::communication(400, detail("FAILED_PRECONDITION")),
        GrpcStatus::Aborted => Problem::communication(409, detail("ABORTED")),
        GrpcStatus::OutOfRange => Problem::communication(400, detail("OUT_OF_RANGE")),
        GrpcStatus::Unimplemented => Problem::communication(501, detail("UNIMPLEMENTED")),
        GrpcStatus::Internal => Problem::communication(500, detail("INTERNAL")),
        GrpcStatus::Unavailable => Problem::communication(503, detail("UNAVAILABLE")),
        GrpcStatus::DataLoss => Problem::communication(500, detail("DATA_LOSS")),
        GrpcStatus::Unauthenticated => Problem::authentication(detail("UNAUTHENTICATED")),
    }
}
