//! `call: mail`: what may be sent, and to how many.

use serde_json::Value;

use crate::{LINE_BYTES_MAX, MAIL_BYTES_MAX, Mail, Problem, RECIPIENTS_MAX, expression::Template};

/// A mail as it is written.
#[derive(Debug)]
pub(crate) struct MailCall {
    pub(crate) from: Option<Template>,
    pub(crate) to: Template,
    pub(crate) cc: Option<Template>,
    pub(crate) subject: Template,
    pub(crate) text: Option<Template>,
    pub(crate) html: Option<Template>,
}

/// One address, or a list of them; null is none.
pub(crate) fn addresses(name: &str, value: &Value) -> Result<Vec<String>, Problem> {
    let not_a_text = || Problem::expression(format!("`{name}` has to be an address, or a list of addresses"));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(address) => Ok(vec![address.clone()]),
        Value::Array(addresses) => {
            addresses.iter().map(|address| address.as_str().map(str::to_owned).ok_or_else(not_a_text)).collect()
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(not_a_text()),
    }
}

/// The bounds of a mail; and that what becomes a header is one line, for what follows a line break would be another header.
pub(crate) fn check(mail: &Mail) -> Result<(), Problem> {
    let recipients = mail.to.len() + mail.cc.len();
    if mail.to.is_empty() || recipients > RECIPIENTS_MAX {
        return Err(Problem::validation(format!(
            "a mail goes to 1 to {RECIPIENTS_MAX} addresses, those of `cc` among them, and one at least is in `to`; these are {recipients}"
        )));
    }
    let lines = mail.from.iter().map(|address| ("from", address));
    let lines = lines.chain(mail.to.iter().map(|address| ("to", address)));
    let lines = lines.chain(mail.cc.iter().map(|address| ("cc", address)));
    for (name, line) in lines.chain([("subject", &mail.subject)]) {
        if line.chars().any(char::is_control) {
            return Err(Problem::validation(format!("`{name}` has a line break or another control character")));
        }
        if line.is_empty() || line.len() > LINE_BYTES_MAX {
            return Err(Problem::validation(format!("`{name}` has 1 to {LINE_BYTES_MAX} bytes")));
        }
    }
    let bytes = mail.text.as_ref().map_or(0, String::len) + mail.html.as_ref().map_or(0, String::len);
    if mail.text.is_none() && mail.html.is_none() {
        return Err(Problem::validation("a mail has a `text`, or `html`, or both"));
    }
    if bytes > MAIL_BYTES_MAX {
        return Err(Problem::validation(format!("a mail's text has at most {MAIL_BYTES_MAX} bytes")));
    }
    Ok(())
}
