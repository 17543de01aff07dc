//! `call: http`: what is sent, and what comes of the answer.

use std::{collections::BTreeSet, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};

use crate::{
    HttpFailure, HttpResponse, Problem,
    expression::{Expression, Template},
    oauth::Oauth2,
};

/// The last status that says that a request was carried out.
pub(crate) const SUCCESS_LAST: u16 = 299;

/// The last status that says where else to look.
const REDIRECTION_LAST: u16 = 399;

/// A request as it is written.
#[derive(Debug)]
pub(crate) struct HttpCall {
    /// In capital letters.
    pub(crate) method: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) query: Vec<(String, Template)>,
    pub(crate) body: Option<Template>,
    pub(crate) output: OutputFormat,
    /// Whether a status of 300 to 399 is no error. It is not followed in either case.
    pub(crate) redirect: bool,
}

/// Where a request goes, and how it shows who sends it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) uri: Uri,
    pub(crate) authentication: Option<Authentication>,
}

impl Endpoint {
    /// Adds the names of the secrets that may be in what is sent because of it.
    pub(crate) fn add_secrets<'a>(&'a self, all: &'a [String], names: &mut BTreeSet<&'a str>) {
        if let Uri::Expression(expression) = &self.uri {
            expression.add_secrets(all, names);
        }
        if let Some(authentication) = &self.authentication {
            authentication.add_secrets(all, names);
        }
    }

    /// Whether the URI may hold a secret, so that nothing of it is told.
    pub(crate) fn is_secret(&self) -> bool {
        match &self.uri {
            Uri::Expression(expression) => expression.uses_secrets(),
            Uri::Template(_) => false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Uri {
    Expression(Expression),
    Template(Vec<Part>),
}

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    /// A field of the task's input, in braces.
    Field(String),
}

#[derive(Debug)]
pub(crate) enum Authentication {
    Basic { username: Template, password: Template },
    Bearer { token: Template },
    Oauth2(Box<Oauth2>),
}

impl Authentication {
    /// Adds the names of the secrets that may be in what is sent because of it. A token stands for what it was got with.
    pub(crate) fn add_secrets<'a>(&'a self, all: &'a [String], names: &mut BTreeSet<&'a str>) {
        match self {
            Self::Basic { username, password } => {
                username.add_secrets(all, names);
                password.add_secrets(all, names);
            }
            Self::Bearer { token } => token.add_secrets(all, names),
            Self::Oauth2(oauth) => oauth.add_secrets(all, names),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    Raw,
    Content,
    Response,
}

/// Reads a URI with fields in braces, the first level of RFC 6570.
pub(crate) fn parse_uri(text: &str) -> Result<Vec<Part>, String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("a URI has to begin with http:// or https://".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` of the URI is not closed")?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("`{{{name}}}` has to be the name of a field of the input; use an expression for more"));
        }
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Field(name.to_owned()));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// The URI with the fields of the input.
pub(crate) fn expand(parts: &[Part], input: &Value) -> Result<String, Problem> {
    let mut uri = String::new();
    for part in parts {
        match part {
            Part::Text(text) => uri.push_str(text),
            Part::Field(name) => match input.get(name) {
                Some(Value::String(value)) => encode(&mut uri, value),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => encode(&mut uri, &value.to_string()),
                Some(_) => {
                    return Err(Problem::expression(format!("the field `{name}` of the URI is no text or number")));
                }
                None => return Err(Problem::expression(format!("the input has no field `{name}` for the URI"))),
            },
        }
    }
    Ok(uri)
}

/// Appends a query parameter, once for each of its values.
pub(crate) fn append_query(uri: &mut String, name: &str, value: &Value) -> Result<(), Problem> {
    let fragment = uri.find('#').map(|at| uri.split_off(at)).unwrap_or_default();
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    for value in values {
        uri.push(if uri.contains('?') { '&' } else { '?' });
        encode(uri, name);
        uri.push('=');
        encode(uri, &text_of(name, value)?);
    }
    uri.push_str(&fragment);
    Ok(())
}

/// A header's or a parameter's value.
pub(crate) fn text_of(name: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Problem::expression(format!("`{name}` has to be a text, a number or a boolean")))
        }
    }
}

/// Percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    encode(&mut encoded, text);
    encoded
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(uri: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing into a text does not fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
}

/// What the task gives of a response, or the error that it is. `told` is what may be said of the URI.
pub(crate) fn output(call: &HttpCall, told: Option<&str>, response: &HttpResponse) -> Result<Value, Problem> {
    check_status(told, response.status, if call.redirect { REDIRECTION_LAST } else { SUCCESS_LAST })?;
    Ok(match call.output {
        OutputFormat::Raw => BASE64.encode(&response.body).into(),
        OutputFormat::Content => content(response)?,
        OutputFormat::Response => {
            let headers = response.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            // Without headers: they may hold secrets.
            let mut request = json!({"method": call.method});
            if let Some(uri) = told {
                request["uri"] = uri.into();
            }
            json!({
                "request": request,
                "statusCode": response.status,
                "headers": headers.collect::<Map<_, _>>(),
                "content": content(response)?,
            })
        }
    })
}

/// The error that a status is which is not 200 to the last one that is accepted.
pub(crate) fn check_status(told: Option<&str>, status: u16, last: u16) -> Result<(), Problem> {
    if (200..=last).contains(&status) {
        return Ok(());
    }
    let detail = format!("{} answers with status {status}", told.map_or("the service", origin));
    Err(match status {
        401 => Problem::authentication(detail),
        403 => Problem::authorization(detail),
        status @ 400..=599 => Problem::communication(status, detail),
        _ => Problem::communication(502, detail),
    })
}

/// A failure to reach an endpoint that may hold a secret: nothing is said of where it is.
pub(crate) fn withheld(failure: &HttpFailure) -> Problem {
    match failure {
        HttpFailure::Refused(_) => Problem::configuration(
            "the endpoint, which is made of a secret, cannot or may not be called; why is withheld, for it may tell the secret",
        ),
        HttpFailure::Unavailable(_) => Problem::communication(503, "the service cannot be reached"),
    }
}

/// Scheme, host and port: what may be said of a URI whose rest may hold secrets.
pub(crate) fn origin(uri: &str) -> &str {
    let after_scheme = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[after_scheme..].find(['/', '?', '#']).map_or(uri.len(), |at| after_scheme + at);
    &uri[..end]
}

/// JSON where it says so, else text.
fn content(response: &HttpResponse) -> Result<Value, Problem> {
    if response.body.is_empty() {
        return Ok(Value::Null);
    }
    let is_json = response.headers.iter().any(|(name, value)| {
        let media = value.split(';').next().unwrap_or_default().trim();
        name == "content-type" && (media == "application/json" || media.ends_with("+json"))
    });
    if is_json {
        return serde_json::from_slice(&response.body)
            .map_err(|error| Problem::communication(502, format!("the answer says it is JSON and is not: {error}")));
    }
    match std::str::from_utf8(&response.body) {
        Ok(text) => Ok(text.into()),
        Err(_) => Ok(BASE64.encode(&response.body).into()),
    }
}
