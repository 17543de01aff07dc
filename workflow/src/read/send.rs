//! What goes out: mails, webhooks and events; and what is done to the submission.

use super::{Fields, Names, Path, Reader};
use crate::{
    event::EventTemplate,
    expression::Template,
    mail::MailCall,
    node::{Content, Node},
    webhook::WebhookCall,
};

/// What the event of a webhook says of itself besides its `type` and its `source`.
const ATTRIBUTES: [&str; 4] = ["id", "subject", "time", "dataschema"];

impl Reader {
    pub(super) fn mail(&mut self, node: &Node, path: &Path, names: &Names) -> Option<MailCall> {
        let fields = self.object(node, path, &["from", "to", "cc", "subject", "text", "html"], &["bcc", "replyTo"])?;
        let names = names.with(&["input"]);
        if fields.get("to").is_none() {
            self.missing(node, path, "to");
        }
        if fields.get("text").is_none() && fields.get("html").is_none() {
            self.error(node, path, "a mail has a `text`, or `html`, or both");
        }
        let to = self.addresses(fields, path, "to", &names);
        let subject = self.needed_text(node, fields, path, "subject", &names);
        Some(MailCall {
            from: self.optional_text(fields, path, "from", &names),
            cc: self.addresses(fields, path, "cc", &names),
            text: self.optional_text(fields, path, "text", &names),
            html: self.optional_text(fields, path, "html", &names),
            to: to?,
            subject: subject?,
        })
    }

    /// An address or a list of them; each may be an expression, and so may the whole.
    fn addresses(&mut self, fields: Fields<'_>, path: &Path, name: &str, names: &[String]) -> Option<Template> {
        let node = fields.get(name)?;
        let path = path.field(name);
        let is_one = |node: &Node| matches!(node.content, Content::Text(_));
        let are_addresses = match &node.content {
            Content::List(addresses) => addresses.iter().all(is_one),
            Content::Text(_) => true,
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Object(_) => false,
        };
        if !are_addresses {
            self.error(node, &path, "an address is needed here, or a list of addresses");
            return None;
        }
        self.template(node, &path, names)
    }

    pub(super) fn webhook(&mut self, node: &Node, path: &Path, names: &Names) -> Option<WebhookCall> {
        let fields = self.object(node, path, &["endpoint", "secret", "event"], &["headers", "query"])?;
        for needed in ["endpoint", "secret", "event"] {
            if fields.get(needed).is_none() {
                self.missing(node, path, needed);
            }
        }
        let secrets = names.with(&["input", "secrets"]);
        let endpoint = fields.get("endpoint").and_then(|node| self.endpoint(node, &path.field("endpoint"), &secrets));
        let secret = fields.get("secret").and_then(|node| self.secret_name(node, &path.field("secret")));
        let event = fields.get("event").and_then(|node| self.event(node, &path.field("event"), names, &ATTRIBUTES));
        Some(WebhookCall { endpoint: endpoint?, secret: secret?, event: event? })
    }

    fn secret_name(&mut self, node: &Node, path: &Path) -> Option<String> {
        let name = self.text(node, path)?;
        if !self.uses.secrets.iter().any(|secret| secret == name) {
            self.error(
                node,
                path,
                format!("there is no `{name}` in `use.secrets`; the name of a secret is needed here"),
            );
            return None;
        }
        Some(name.to_owned())
    }

    /// `emit`. The id and the time of what it tells are the server's.
    pub(super) fn emit(&mut self, node: &Node, path: &Path, names: &Names) -> Option<EventTemplate> {
        let fields = self.object(node, path, &["event"], &[])?;
        let Some(event) = fields.get("event") else {
            self.missing(node, path, "event");
            return None;
        };
        let path = path.field("event");
        let fields = self.object(event, &path, &["with"], &[])?;
        let Some(with) = fields.get("with") else {
            self.missing(event, &path, "with");
            return None;
        };
        let path = path.field("with");
        let told = self.event(with, &path, names, &["subject", "dataschema"])?;
        if let Some((_, Template::Constant(kind))) = told.attributes.iter().find(|(name, _)| name == "type")
            && let Err(problem) = EventTemplate::check_told(kind.as_str().unwrap_or_default())
        {
            self.error(with, &path.field("type"), problem.detail.unwrap_or_default());
        }
        Some(told)
    }

    pub(super) fn comment(&mut self, node: &Node, path: &Path, names: &Names) -> Option<Template> {
        let fields = self.object(node, path, &["text"], &[])?;
        self.needed_text(node, fields, path, "text", &names.with(&["input"]))
    }

    /// A merge patch: an object, or an expression that gives one.
    pub(super) fn update_record(&mut self, node: &Node, path: &Path, names: &Names) -> Option<Template> {
        let fields = self.object(node, path, &["patch"], &[])?;
        match fields.get("patch") {
            Some(patch) => self.data(patch, &path.field("patch"), &names.with(&["input"])),
            None => {
                self.missing(node, path, "patch");
                None
            }
        }
    }

    fn event(&mut self, node: &Node, path: &Path, names: &Names, attributes: &[&str]) -> Option<EventTemplate> {
        let known: Vec<&str> = ["type", "source", "data"].iter().chain(attributes).copied().collect();
        let fields = self.object(node, path, &known, &["specversion", "datacontenttype", "id", "time"])?;
        let optional = attributes;
        let names = names.with(&["input"]);
        let mut attributes = Vec::new();
        for name in ["type", "source"] {
            attributes.push((name.to_owned(), self.needed_text(node, fields, path, name, &names)));
        }
        for name in optional {
            if fields.get(name).is_some() {
                attributes.push(((*name).to_owned(), self.optional_text(fields, path, name, &names)));
            }
        }
        let data = fields.get("data").map(|node| self.template(node, &path.field("data"), &names));
        let attributes = attributes.into_iter().map(|(name, template)| Some((name, template?)));
        Some(EventTemplate { attributes: attributes.collect::<Option<_>>()?, data: data.flatten() })
    }
}
