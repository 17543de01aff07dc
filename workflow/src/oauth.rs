//! `authentication: oauth2`: a token for the flow's own client, which is asked for at a token endpoint (RFC 6749, section 4.4).

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{HttpRequest, HttpResponse, Problem, expression::Template, http};

/// How long before its end a token is not used any more: what is sent with it arrives later.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// How long a token is kept whose answer does not say how long it is good, or says more.
const KEPT_MAX: SignedDuration = SignedDuration::from_hours(1);

/// A client as it is written.
#[derive(Debug)]
pub(crate) struct Oauth2 {
    pub(crate) authority: Template,
    /// The path of the token endpoint, below the authority.
    pub(crate) path: String,
    pub(crate) id: Template,
    pub(crate) secret: Template,
    pub(crate) shown: ClientAuthentication,
    pub(crate) scopes: Vec<Template>,
    pub(crate) audiences: Vec<Template>,
}

impl Oauth2 {
    /// Adds the names of the secrets that a token is got with.
    pub(crate) fn add_secrets<'a>(&'a self, all: &'a [String], names: &mut BTreeSet<&'a str>) {
        for template in [&self.authority, &self.id, &self.secret].into_iter().chain(&self.scopes).chain(&self.audiences)
        {
            template.add_secrets(all, names);
        }
    }
}

/// How the client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuthentication {
    /// In the form that is sent.
    Post,
    /// In a header.
    Basic,
}

/// The same with its expressions evaluated.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client {
    pub(crate) uri: String,
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
}

/// What the token endpoint gave. Neither this nor a client is for logs, and they have no `Debug`.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) until: Timestamp,
}

impl Client {
    pub(crate) fn request(&self, shown: ClientAuthentication, secrets: Vec<String>) -> HttpRequest {
        let scope = self.scopes.join(" ");
        let mut fields = vec![("grant_type", "client_credentials")];
        if !scope.is_empty() {
            fields.push(("scope", &scope));
        }
        fields.extend(self.audiences.iter().map(|audience| ("audience", audience.as_str())));
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        match shown {
            ClientAuthentication::Post => fields.extend([("client_id", &*self.id), ("client_secret", &*self.secret)]),
            ClientAuthentication::Basic => {
                let credentials = format!("{}:{}", http::encoded(&self.id), http::encoded(&self.secret));
                headers.push(("authorization".to_owned(), format!("Basic {}", BASE64.encode(credentials))));
            }
        }
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", http::encoded(value))).collect();
        let body = form.join("&").into_bytes();
        HttpRequest { method: "POST".to_owned(), uri: self.uri.clone(), headers, body, secrets }
    }

    /// The token of an answer that came at this time.
    pub(crate) fn token(&self, response: &HttpResponse, now: Timestamp) -> Result<Token, Problem> {
        let from = http::origin(&self.uri);
        if matches!(response.status, 400 | 401 | 403) {
            let detail = format!("{from} gives this client no token: status {}", response.status);
            return Err(Problem::authentication(detail));
        }
        http::check_status(Some(&self.uri), response.status, http::SUCCESS_LAST)?;
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let is_bearer = answer["token_type"].as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        match answer["access_token"].as_str() {
            Some(value) if is_bearer && !value.is_empty() => {
                let length = answer["expires_in"].as_u64().and_then(|seconds| i64::try_from(seconds).ok());
                let length = length.map_or(KEPT_MAX, |seconds| KEPT_MAX.min(SignedDuration::from_secs(seconds)));
                Ok(Token { value: value.to_owned(), until: now + (length - EXPIRY_MARGIN) })
            }
            _ => Err(Problem::communication(502, format!("{from} answers with no bearer token"))),
        }
    }
}
