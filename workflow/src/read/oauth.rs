//! `authentication: oauth2`.

use super::{Fields, Path, Reader, unwrapped};
use crate::{
    expression::{SECRETS, Template},
    node::Node,
    oauth::{ClientAuthentication, Oauth2},
};

/// What the DSL takes where no token endpoint is named.
const TOKEN_PATH: &str = "/oauth2/token";

impl Reader {
    pub(super) fn oauth2(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Oauth2> {
        let known = ["authority", "endpoints", "grant", "client", "scopes", "audiences"];
        let unsupported = ["request", "issuers", "username", "password", "subject", "actor", "use"];
        let fields = self.object(node, path, &known, &unsupported)?;
        match fields.get("grant") {
            None => self.missing(node, path, "grant"),
            Some(grant) => {
                let path = path.field("grant");
                if self.text(grant, &path).is_some_and(|text| text != "client_credentials") {
                    self.error(grant, &path, "only `client_credentials` is supported");
                }
            }
        }
        // Where tokens are asked for is told in errors, so it is no secret.
        let public: Vec<String> = names.iter().filter(|name| *name != SECRETS).cloned().collect();
        let authority = self.needed_text(node, fields, path, "authority", &public);
        if let Some(node) = fields.get("authority")
            && let Some(text) = self.text(node, &path.field("authority"))
            && unwrapped(text).is_none()
            && !["https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
        {
            self.error(node, &path.field("authority"), "an authority has to begin with http:// or https://");
        }
        let endpoint = match fields.get("endpoints") {
            None => Some(TOKEN_PATH.to_owned()),
            Some(endpoints) => self.token_path(endpoints, &path.field("endpoints")),
        };
        let scopes = self.texts(fields, path, "scopes", names);
        let audiences = self.texts(fields, path, "audiences", names);
        let Some(client) = fields.get("client") else {
            self.missing(node, path, "client");
            return None;
        };
        let path = path.field("client");
        let fields = self.object(client, &path, &["id", "secret", "authentication"], &["assertion"])?;
        let id = self.needed_word(client, fields, &path, "id", names);
        let secret = self.needed_word(client, fields, &path, "secret", names);
        let shown = match fields.get("authentication") {
            None => ClientAuthentication::Post,
            Some(node) => match self.text(node, &path.field("authentication"))? {
                "client_secret_post" => ClientAuthentication::Post,
                "client_secret_basic" => ClientAuthentication::Basic,
                _ => {
                    let message = "only `client_secret_post` and `client_secret_basic` are supported";
                    self.error(node, &path.field("authentication"), message);
                    return None;
                }
            },
        };
        let (authority, path, id, secret) = (authority?, endpoint?, id?, secret?);
        Some(Oauth2 { authority, path, id, secret, shown, scopes, audiences })
    }

    fn token_path(&mut self, node: &Node, path: &Path) -> Option<String> {
        let fields = self.object(node, path, &["token"], &["revocation", "introspection"])?;
        let Some(token) = fields.get("token") else { return Some(TOKEN_PATH.to_owned()) };
        let path = path.field("token");
        let text = self.text(token, &path)?;
        if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text.to_owned());
        }
        self.error(token, &path, "a path below the authority is needed here, such as /oauth2/token");
        None
    }

    /// A list of texts, each of which may be an expression.
    fn texts(&mut self, fields: Fields<'_>, path: &Path, name: &str, names: &[String]) -> Vec<Template> {
        let Some(node) = fields.get(name) else { return Vec::new() };
        let path = path.field(name);
        let elements = self.list(node, &path).unwrap_or_default();
        let texts = elements.iter().enumerate().filter_map(|(index, element)| {
            let path = path.index(index);
            self.text(element, &path)?;
            self.template(element, &path, names)
        });
        texts.collect()
    }
}
