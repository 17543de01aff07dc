//! `call: grpc`.

use super::{Names, Path, Reader, unwrapped};
use crate::{
    expression::Template,
    grpc::{self, GrpcCall},
    node::{Content, Node},
};

/// Where a service listens that does not say: the port of TLS.
const PORT: u16 = 443;

impl Reader {
    pub(super) fn grpc(&mut self, node: &Node, path: &Path, names: &Names) -> Option<GrpcCall> {
        let fields = self.object(node, path, &["proto", "service", "method", "arguments"], &[])?;
        for needed in ["proto", "service", "method"] {
            if fields.get(needed).is_none() {
                self.missing(node, path, needed);
            }
        }
        // A host is told where it cannot be reached, so it is no secret.
        let public = names.with(&["input"]);
        let names = names.with(&["input", "secrets"]);
        let proto = fields.get("proto").and_then(|node| self.proto(node, &path.field("proto")));
        let method = fields.get("method").and_then(|node| self.method_name(node, &path.field("method")));
        let arguments = fields.get("arguments").map(|node| self.data(node, &path.field("arguments"), &names));
        let service = fields.get("service")?;
        let path = path.field("service");
        let fields = self.object(service, &path, &["name", "host", "port", "authentication"], &[])?;
        if fields.get("name").is_none() {
            self.missing(service, &path, "name");
        }
        let name = fields.get("name").and_then(|node| self.service_name(node, &path.field("name")));
        let host = self.needed_text(service, fields, &path, "host", &public);
        if let (Some(node), Some(Template::Constant(host))) = (fields.get("host"), &host)
            && !host.as_str().is_some_and(grpc::is_host)
        {
            self.error(node, &path.field("host"), "the name or the address of a host is needed here, and nothing else");
        }
        let port = match fields.get("port") {
            Some(node) => self.port(node, &path.field("port")),
            None => Some(PORT),
        };
        let authentication =
            fields.get("authentication").map(|node| self.authentication(node, &path.field("authentication"), &names));
        Some(GrpcCall {
            proto: proto?.into(),
            host: host?,
            port: port?,
            authentication: authentication.map_or(Some(None), |read| read.map(Some))?,
            service: name?,
            method: method?,
            arguments: arguments.map_or(Some(None), |read| read.map(Some))?,
        })
    }

    /// The text of the proto file, which is a part of the document.
    fn proto(&mut self, node: &Node, path: &Path) -> Option<String> {
        let fields = self.object(node, path, &["endpoint"], &["name"])?;
        let Some(endpoint) = fields.get("endpoint") else {
            self.missing(node, path, "endpoint");
            return None;
        };
        let path = path.field("endpoint");
        let (uri, path) = if let Content::Object(_) = endpoint.content {
            let fields = self.object(endpoint, &path, &["uri"], &["authentication"])?;
            let Some(uri) = fields.get("uri") else {
                self.missing(endpoint, &path, "uri");
                return None;
            };
            (uri, path.field("uri"))
        } else {
            (endpoint, path)
        };
        match grpc::data(self.text(uri, &path)?) {
            Ok(text) => Some(text),
            Err(reason) => {
                self.error(uri, &path, reason);
                None
            }
        }
    }

    fn service_name(&mut self, node: &Node, path: &Path) -> Option<String> {
        let name = self.text(node, path)?;
        if unwrapped(name).is_some() || !grpc::is_name(name) {
            self.error(node, path, "the name of a service is needed here, with its package");
            return None;
        }
        Some(name.to_owned())
    }

    fn method_name(&mut self, node: &Node, path: &Path) -> Option<String> {
        let name = self.text(node, path)?;
        if name.contains('.') || !grpc::is_name(name) {
            self.error(node, path, "the name of a method is needed here");
            return None;
        }
        Some(name.to_owned())
    }

    fn port(&mut self, node: &Node, path: &Path) -> Option<u16> {
        let number = self.whole_number(node, path)?;
        match u16::try_from(number) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                self.error(node, path, "a port is a number from 1 to 65535");
                None
            }
        }
    }
}
