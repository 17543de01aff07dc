//! `run`.

use super::{Names, Path, Reader};
use crate::{model::RunWorkflow, node::Node};

/// The version of a workflow that is the last one listed, as where no version is said.
const LATEST: &str = "latest";

impl Reader {
    pub(super) fn run(&mut self, node: &Node, path: &Path, names: &Names) -> Option<RunWorkflow> {
        let unsupported = ["container", "script", "shell", "await", "return"];
        let fields = self.object(node, path, &["workflow"], &unsupported)?;
        let Some(node) = fields.get("workflow") else {
            self.missing(node, path, "workflow");
            return None;
        };
        let path = path.field("workflow");
        let fields = self.object(node, &path, &["namespace", "name", "version", "input"], &[])?;
        let mut text = |name: &str| match fields.get(name) {
            Some(node) => self.text(node, &path.field(name)),
            None if name == "version" => Some(LATEST),
            None => {
                self.missing(node, &path, name);
                None
            }
        };
        let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
        let (namespace, name, version) = (namespace?, name?, version?);
        let input = match fields.get("input") {
            Some(node) => Some(self.data(node, &path.field("input"), &names.with(&["input"]))?),
            None => None,
        };
        let found = self.uses.workflows.iter().rev().find(|(identity, _)| {
            (identity.namespace.as_str(), identity.name.as_str()) == (namespace, name)
                && (version == LATEST || identity.version == version)
        });
        let Some((_, workflow)) = found.cloned() else {
            let message =
                format!("there is no workflow `{namespace}/{name}` of version `{version}` in `use.workflows`");
            self.error(node, &path, format!("{message}, or it comes later"));
            return None;
        };
        // Its tasks are those of a level below.
        if self.is_too_deep(node, &path, names.depth + 1 + workflow.depth) {
            return None;
        }
        Some(RunWorkflow { workflow, input })
    }
}
