//! `call`.

use super::{Names, Path, Reader, constant, unwrapped};
use crate::{
    expression::Template,
    http::{Authentication, Endpoint, HttpCall, OutputFormat, Uri, parse_uri},
    model::Action,
    node::{Content, Node},
};

/// What can be called: a service, and what Quorate does itself.
const FUNCTIONS: [&str; 6] = ["comment", "grpc", "http", "mail", "updateRecord", "webhook"];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that say how a message is framed or to whom it goes: they follow from the request.
const HEADERS_TAKEN: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];

impl Reader {
    pub(super) fn call(
        &mut self,
        node: &Node,
        with: Option<&Node>,
        task: (&Node, &Path),
        names: &Names,
    ) -> Option<Action> {
        let path = task.1.field("call");
        let function = self.text(node, &path)?;
        if !FUNCTIONS.contains(&function) {
            let what = match function {
                "openapi" | "asyncapi" | "a2a" | "mcp" => format!("`call: {function}` is not supported"),
                _ => format!("there is no function `{function}`"),
            };
            let known: Vec<String> = FUNCTIONS.iter().map(|name| format!("`{name}`")).collect();
            self.error(node, &path, format!("{what}; there is {}", known.join(", ")));
            return None;
        }
        let Some(with) = with else {
            self.missing(task.0, task.1, "with");
            return None;
        };
        let path = task.1.field("with");
        match function {
            "comment" => self.comment(with, &path, names).map(Action::Comment),
            "updateRecord" => self.update_record(with, &path, names).map(Action::UpdateRecord),
            "grpc" => self.grpc(with, &path, names).map(|call| Action::Grpc(Box::new(call))),
            "mail" => self.mail(with, &path, names).map(|call| Action::Mail(Box::new(call))),
            "webhook" => self.webhook(with, &path, names).map(|call| Action::Webhook(Box::new(call))),
            _ => self.http(with, &path, names).map(|call| Action::Http(Box::new(call))),
        }
    }

    fn http(&mut self, node: &Node, path: &Path, names: &Names) -> Option<HttpCall> {
        let known = ["method", "endpoint", "headers", "body", "query", "output", "redirect"];
        let fields = self.object(node, path, &known, &[])?;
        for needed in ["method", "endpoint"] {
            if fields.get(needed).is_none() {
                self.missing(node, path, needed);
            }
        }
        // Secrets are known where something leaves the worker, which is not kept.
        let names = names.with(&["input", "secrets"]);
        let method = fields.get("method").and_then(|node| self.method(node, &path.field("method")));
        let endpoint = fields.get("endpoint").and_then(|node| self.endpoint(node, &path.field("endpoint"), &names));
        let headers = fields.get("headers").map(|node| self.map(node, &path.field("headers"), &names));
        if let Some(node) = fields.get("headers") {
            for (name, _) in headers.iter().flatten() {
                self.header_name(node, &path.field("headers").field(name), name);
            }
        }
        let query = fields.get("query").map(|node| self.map(node, &path.field("query"), &names));
        let body = match fields.get("body") {
            Some(node) => Some(self.template(node, &path.field("body"), &names)?),
            None => None,
        };
        let output = match fields.get("output") {
            None => OutputFormat::Content,
            Some(node) => match self.text(node, &path.field("output"))? {
                "raw" => OutputFormat::Raw,
                "content" => OutputFormat::Content,
                "response" => OutputFormat::Response,
                _ => {
                    self.error(node, &path.field("output"), "there is `raw`, `content` and `response`");
                    return None;
                }
            },
        };
        let redirect = fields.get("redirect").and_then(|node| self.boolean(node, &path.field("redirect")));
        Some(HttpCall {
            method: method?,
            endpoint: endpoint?,
            headers: headers.unwrap_or_default(),
            query: query.unwrap_or_default(),
            body,
            output,
            redirect: redirect.unwrap_or_default(),
        })
    }

    fn method(&mut self, node: &Node, path: &Path) -> Option<String> {
        let method = self.text(node, path)?.to_ascii_uppercase();
        if METHODS.contains(&method.as_str()) {
            return Some(method);
        }
        self.error(node, path, format!("`{method}` is no method; there is {}", METHODS.join(", ")));
        None
    }

    pub(super) fn endpoint(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Endpoint> {
        if matches!(node.content, Content::Text(_)) {
            return Some(Endpoint { uri: self.uri(node, path, names)?, authentication: None });
        }
        let fields = self.object(node, path, &["uri", "authentication"], &[])?;
        let authentication = match fields.get("authentication") {
            Some(node) => Some(self.authentication(node, &path.field("authentication"), names)?),
            None => None,
        };
        match fields.get("uri") {
            Some(uri) => Some(Endpoint { uri: self.uri(uri, &path.field("uri"), names)?, authentication }),
            None => {
                self.missing(node, path, "uri");
                None
            }
        }
    }

    fn uri(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Uri> {
        let text = self.text(node, path)?;
        if unwrapped(text).is_some() {
            return self.expression(node, path, names).map(Uri::Expression);
        }
        match parse_uri(text) {
            Ok(parts) => Some(Uri::Template(parts)),
            Err(problem) => {
                self.error(node, path, problem);
                None
            }
        }
    }

    /// An authentication, or the name of one of `use.authentications`.
    pub(super) fn authentication(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Authentication> {
        if let Content::Object(fields) = &node.content
            && let [field] = fields.as_slice()
            && field.name == "use"
        {
            let path = path.field("use");
            let name = self.text(&field.value, &path)?;
            let Some((node, path)) = self.uses.authentications.get(name).cloned() else {
                self.error(&field.value, &path, format!("there is no `{name}` in `use.authentications`"));
                return None;
            };
            return self.authentication_policy(&node, &path, names);
        }
        self.authentication_policy(node, path, names)
    }

    pub(super) fn authentication_policy(
        &mut self,
        node: &Node,
        path: &Path,
        names: &[String],
    ) -> Option<Authentication> {
        let known = ["basic", "bearer", "oauth2"];
        let fields = self.object(node, path, &known, &["digest", "certificate", "oidc"])?;
        match (fields.get("basic"), fields.get("bearer"), fields.get("oauth2")) {
            (Some(basic), None, None) => {
                let path = path.field("basic");
                let fields = self.object(basic, &path, &["username", "password"], &["use"])?;
                let username = self.needed_word(basic, fields, &path, "username", names);
                let password = self.needed_word(basic, fields, &path, "password", names);
                Some(Authentication::Basic { username: username?, password: password? })
            }
            (None, Some(bearer), None) => {
                let path = path.field("bearer");
                let fields = self.object(bearer, &path, &["token"], &["use"])?;
                let token = self.needed_word(bearer, fields, &path, "token", names)?;
                Some(Authentication::Bearer { token })
            }
            (None, None, Some(oauth2)) => {
                let oauth2 = self.oauth2(oauth2, &path.field("oauth2"), names)?;
                Some(Authentication::Oauth2(Box::new(oauth2)))
            }
            _ => {
                self.error(node, path, "an authentication is one of `basic`, `bearer` and `oauth2`");
                None
            }
        }
    }

    /// Headers or query parameters.
    fn map(&mut self, node: &Node, path: &Path, names: &[String]) -> Vec<(String, Template)> {
        match self.template(node, path, names) {
            Some(Template::Object(fields)) => fields,
            None => Vec::new(),
            Some(_) => {
                self.error(node, path, "an object is needed here");
                vec![(String::new(), constant(""))]
            }
        }
    }

    fn header_name(&mut self, node: &Node, path: &Path, name: &str) {
        let name = name.to_ascii_lowercase();
        let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if !is_token {
            self.error(node, path, "it is no name of a header");
        } else if HEADERS_TAKEN.contains(&name.as_str()) {
            self.error(node, path, format!("the header `{name}` follows from the request"));
        }
    }
}
