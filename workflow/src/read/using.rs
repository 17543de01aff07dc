//! `use`: what tasks refer to by name.

use std::{collections::BTreeMap, sync::Arc};

use super::{Names, Path, Reader};
use crate::{
    Workflow,
    http::Authentication,
    model::{ErrorTemplate, Identity, Length, Retry},
    node::{Content, Node},
};

/// What is named, and not checked further here: it is read again wherever it is used, with the variables of that place.
#[derive(Default)]
pub(super) struct Uses {
    pub(super) secrets: Vec<String>,
    pub(super) errors: BTreeMap<String, (Node, Path)>,
    pub(super) retries: BTreeMap<String, (Node, Path)>,
    pub(super) timeouts: BTreeMap<String, Length>,
    /// Each may run those before it, so that none runs itself.
    pub(super) workflows: Vec<(Identity, Arc<Workflow>)>,
    pub(super) authentications: BTreeMap<String, (Node, Path)>,
}

impl Reader {
    pub(super) fn uses(&mut self, node: &Node, path: &Path) {
        let known = ["authentications", "errors", "retries", "secrets", "timeouts", "workflows"];
        let Some(fields) = self.object(node, path, &known, &["catalogs", "extensions", "functions"]) else {
            return;
        };
        if let Some(secrets) = fields.get("secrets") {
            let path = path.field("secrets");
            for (index, secret) in self.list(secrets, &path).unwrap_or_default().iter().enumerate() {
                if let Some(name) = self.text(secret, &path.index(index)) {
                    if is_secret_name(name) {
                        self.uses.secrets.push(name.to_owned());
                    } else {
                        self.error(secret, &path.index(index), "a secret's name has letters, digits, `_` and `-`");
                    }
                }
            }
        }
        if let Some(workflows) = fields.get("workflows") {
            self.workflows(workflows, &path.field("workflows"));
        }
        for (node, path) in self.named(fields.get("errors"), &path.field("errors")) {
            let _: Option<ErrorTemplate> = self.error_template(&node, &path, &Names::default());
            self.uses.errors.insert(last(&path), (node, path));
        }
        for (node, path) in self.named(fields.get("retries"), &path.field("retries")) {
            let names = Names { scope: vec!["error".to_owned()], ..Names::default() };
            let _: Option<Retry> = self.retry(&node, &path, &names);
            self.uses.retries.insert(last(&path), (node, path));
        }
        for (node, path) in self.named(fields.get("authentications"), &path.field("authentications")) {
            let names = Names::default().with(&["input", "secrets"]);
            let _: Option<Authentication> = self.authentication_policy(&node, &path, &names);
            self.uses.authentications.insert(last(&path), (node, path));
        }
        for (node, path) in self.named(fields.get("timeouts"), &path.field("timeouts")) {
            if matches!(node.content, Content::Text(_)) {
                self.error(&node, &path, "an object with `after` is needed here");
            } else if let Some(length) = self.timeout(&node, &path, &[]) {
                self.uses.timeouts.insert(last(&path), length);
            }
        }
    }

    /// Workflows of the same document that its tasks run.
    fn workflows(&mut self, node: &Node, path: &Path) {
        if self.is_inner {
            self.error(node, path, "a workflow of `use.workflows` runs those before it, and lists none");
            return;
        }
        for (index, node) in self.list(node, path).unwrap_or_default().iter().enumerate() {
            let path = path.index(index);
            let mut reader = Reader {
                complaints: std::mem::take(&mut self.complaints),
                tasks: self.tasks,
                is_inner: true,
                uses: Uses { workflows: self.uses.workflows.clone(), ..Uses::default() },
                ..Reader::default()
            };
            let workflow = reader.workflow(node, &path);
            (self.complaints, self.tasks) = (reader.complaints, reader.tasks);
            let Some((identity, workflow)) = reader.identity.zip(workflow) else { continue };
            if self.uses.workflows.iter().any(|(known, _)| *known == identity) {
                self.error(node, &path, "this workflow is listed twice");
            }
            self.uses.workflows.push((identity, Arc::new(workflow)));
        }
    }

    fn named(&mut self, node: Option<&Node>, path: &Path) -> Vec<(Node, Path)> {
        match node.map(|node| (node, &node.content)) {
            None => Vec::new(),
            Some((_, Content::Object(fields))) => {
                fields.iter().map(|field| (field.value.clone(), path.field(&field.name))).collect()
            }
            Some((node, _)) => {
                self.error(node, path, format!("an object is needed here, not {}", node.kind()));
                Vec::new()
            }
        }
    }
}

/// A name that may be a part of a variable of the environment or of a file's name.
fn is_secret_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The name at the end of a path of `use`.
fn last(path: &Path) -> String {
    path.pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
}
