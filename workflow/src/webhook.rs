//! `call: webhook`: an event that is posted, signed by the rules of [Standard Webhooks](https://www.standardwebhooks.com).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{event::EventTemplate, http::Endpoint};

/// What the text of a signing secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// How many bytes a signing secret has, by the specification.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook as it is written.
#[derive(Debug)]
pub(crate) struct WebhookCall {
    pub(crate) endpoint: Endpoint,
    /// The name of the secret that it is signed with.
    pub(crate) secret: String,
    pub(crate) event: EventTemplate,
}

/// The header `webhook-signature`. The error says what is wrong with the secret, without a part of it.
pub(crate) fn sign(secret: &str, id: &str, at: i64, body: &[u8]) -> Result<String, &'static str> {
    let key = secret.strip_prefix(SECRET_PREFIX).ok_or("has to begin with `whsec_`")?;
    let key = BASE64.decode(key.trim()).map_err(|_| "has no base64 after `whsec_`")?;
    if !SECRET_BYTES.contains(&key.len()) {
        return Err("has to have 24 to 64 bytes, written in base64 after `whsec_`");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| "cannot be used")?;
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}
