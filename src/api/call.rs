//! What every call begins with: who calls, whether they may, and by what the call is known when it comes again.

use prost::Message;
use quorate_engine::{
    id::{SubmissionId, Tenant},
    trace::TraceParent,
};
use quorate_store::{log::Hash, store::RequestKey};
use sha2::{Digest, Sha256};
use tonic::{Request, Status, metadata::MetadataMap};

use crate::{
    auth::{Principal, Role},
    scheduler::{Answer, Ask, Rejection, Request as LaneRequest},
};

use super::{Api, errors};

/// How long a `request_id` may be, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// How long names and record ids may be, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// The trace that a call is part of, where it says so.
pub(super) fn traceparent(metadata: &MetadataMap) -> Option<TraceParent> {
    TraceParent::parse(metadata.get("traceparent")?.to_str().ok()?)
}

impl Api {
    /// The caller, if they have one of these roles, and the message.
    pub(super) async fn caller<T>(&self, request: Request<T>, roles: &[Role]) -> Result<(Principal, T), Status> {
        let (metadata, _, message) = request.into_parts();
        let principal = self.principal(&metadata).await?;
        if principal.has_any(roles) {
            Ok((principal, message))
        } else {
            let needed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            Err(errors::role_missing(&needed.join(" or ")))
        }
    }

    async fn principal(&self, metadata: &MetadataMap) -> Result<Principal, Status> {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let principal = self.authenticator.principal(text("authorization"), text("quorate-user")).await;
        principal.map_err(|error| errors::unauthenticated(&error))
    }

    /// Asks something of a submission, on behalf of a caller.
    pub(super) async fn ask(
        &self,
        tenant: &Tenant,
        submission: SubmissionId,
        ask: Ask,
        key: Option<(RequestKey, Hash)>,
    ) -> Result<Answer, Rejection> {
        let request = LaneRequest { tenant: tenant.clone(), submission, ask, key };
        self.scheduler.ask(request).await
    }
}

/// By what a call is known when it comes again: the caller's `request_id` (`None`: it is not to be known), and the digest
/// of the method and the whole message.
pub(super) fn request_key<T: Message>(
    principal: &Principal,
    request_id: &str,
    method: &str,
    message: &T,
) -> Result<Option<(RequestKey, Hash)>, Status> {
    if request_id.is_empty() {
        return Ok(None);
    }
    if request_id.len() > REQUEST_ID_BYTES_MAX || request_id.chars().any(char::is_control) {
        let description = format!("has to be 1 to {REQUEST_ID_BYTES_MAX} bytes without control characters");
        return Err(errors::invalid_field("request_id", description));
    }
    let mut hasher = Sha256::new();
    hasher.update(method.as_bytes());
    hasher.update([0]);
    hasher.update(message.encode_to_vec());
    let key = RequestKey {
        tenant: principal.tenant.clone(),
        principal: principal.name.to_string(),
        request_id: request_id.to_owned(),
    };
    Ok(Some((key, hasher.finalize().into())))
}

/// The id in a field of a request.
pub(super) fn parse_id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|_| {
        errors::invalid_field(field, format!("`{}` is not an id", text.chars().take(64).collect::<String>()))
    })
}

/// A text of a request that is stored: bounded, and without the character that the store cannot keep.
pub(super) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Status> {
    if text.len() > bytes_max {
        return Err(errors::invalid_field(field, format!("is longer than {bytes_max} bytes")));
    }
    if text.contains('\0') {
        return Err(errors::invalid_field(field, "must not hold the character U+0000"));
    }
    Ok(())
}
