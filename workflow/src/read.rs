//! From a document to what runs: strict, with a complaint for all that is not understood.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Complaint, DOCUMENT_BYTES_MAX, NESTING_MAX, TASKS_MAX, Workflow,
    expression::{Expression, Template, with_a_large_stack},
    length,
    model::{Identity, Length, Transformation},
    node::{Complaints, Content, Field, Node, Place},
    schema::Schema,
};

mod call;
mod grpc;
mod oauth;
mod run;
mod send;
mod task;
mod using;

/// How long a name is.
const NAME_BYTES_MAX: usize = 128;

/// The variables that every expression of a task may use.
const ALWAYS: [&str; 4] = ["context", "task", "workflow", "runtime"];

/// Reads the document in a node. `path` is where it is, for complaints.
pub(crate) fn workflow(node: &Node, path: &str) -> Result<Workflow, Vec<Complaint>> {
    let read = with_a_large_stack(|| {
        let mut reader = Reader::default();
        let path = Path { dotted: path.to_owned(), pointer: String::new() };
        let workflow = reader.workflow(node, &path);
        match workflow {
            Some(workflow) if reader.complaints.is_empty() => Ok(workflow),
            // Nothing is left unread without a complaint; if it ever is, the document is refused all the same.
            _ => Err(reader.complaints.sorted()),
        }
    });
    read.unwrap_or_else(|| {
        let Place { line, column } = node.at;
        let message = "the document could not be checked".to_owned();
        Err(vec![Complaint { line, column, path: path.to_owned(), message }])
    })
}

#[derive(Default)]
struct Reader {
    complaints: Complaints,
    /// How many tasks there are so far.
    tasks: usize,
    /// How deep tasks nest so far.
    depth: usize,
    /// Whether it reads a workflow of `use.workflows`.
    is_inner: bool,
    /// What the workflow says that it is.
    identity: Option<Identity>,
    uses: using::Uses,
}

/// Where a value is, for people and as a JSON pointer.
#[derive(Clone)]
struct Path {
    dotted: String,
    pointer: String,
}

impl Path {
    fn field(&self, name: &str) -> Self {
        let dot = if self.dotted.is_empty() { "" } else { "." };
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Self { dotted: format!("{}{dot}{name}", self.dotted), pointer: format!("{}/{escaped}", self.pointer) }
    }

    fn index(&self, index: usize) -> Self {
        Self { dotted: format!("{}[{index}]", self.dotted), pointer: format!("{}/{index}", self.pointer) }
    }
}

/// What an expression at some place knows.
#[derive(Clone, Default)]
struct Names {
    /// Variables of loops and caught errors around it.
    scope: Vec<String>,
    depth: usize,
    in_fork: bool,
}

impl Names {
    fn with(&self, extra: &[&str]) -> Vec<String> {
        ALWAYS.iter().chain(extra).map(|name| (*name).to_owned()).chain(self.scope.iter().cloned()).collect()
    }

    fn inside(&self, names: &[&str]) -> Self {
        let mut inside = self.clone();
        inside.depth += 1;
        inside.scope.extend(names.iter().map(|name| (*name).to_owned()));
        inside
    }
}

impl Reader {
    fn workflow(&mut self, node: &Node, path: &Path) -> Option<Workflow> {
        let definition = node.value();
        let size = serde_json::to_vec(&definition).map_or(usize::MAX, |bytes| bytes.len());
        if size > DOCUMENT_BYTES_MAX {
            let message = format!("the workflow has {size} bytes as JSON; at most {DOCUMENT_BYTES_MAX} are taken");
            self.error(node, path, message);
            return None;
        }
        let known = ["document", "input", "use", "do", "timeout", "output", "evaluate"];
        let fields = self.object(node, path, &known, &["schedule"])?;
        match fields.get("document") {
            Some(document) => self.identity = self.document(document, &path.field("document")),
            None => self.missing(node, path, "document"),
        }
        if let Some(evaluate) = fields.get("evaluate") {
            self.evaluate(evaluate, &path.field("evaluate"));
        }
        if let Some(uses) = fields.get("use") {
            self.uses(uses, &path.field("use"));
        }
        let names: Vec<String> = ["workflow", "runtime"].map(str::to_owned).into();
        let input = self.transformation(fields.get("input"), &path.field("input"), "from", &names);
        let names: Vec<String> = ["context", "workflow", "runtime"].map(str::to_owned).into();
        let output = self.transformation(fields.get("output"), &path.field("output"), "as", &names);
        let timeout = fields.get("timeout").and_then(|node| self.timeout(node, &path.field("timeout"), &names));
        let tasks = match fields.get("do") {
            Some(tasks) => self.task_list(tasks, &path.field("do"), &Names::default()),
            None => {
                self.missing(node, path, "do");
                Vec::new()
            }
        };
        let secrets = self.uses.secrets.clone();
        Some(Workflow { definition, input, output, timeout, secrets, tasks, depth: self.depth })
    }

    fn document(&mut self, node: &Node, path: &Path) -> Option<Identity> {
        let known = ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
        let fields = self.object(node, path, &known, &[])?;
        let mut needed = |name: &str| match fields.get(name) {
            None => {
                self.missing(node, path, name);
                None
            }
            Some(value) => {
                let text = self.text(value, &path.field(name))?;
                if name == "dsl" && !text.starts_with("1.0.") {
                    self.error(value, &path.field(name), "the version of the DSL has to be 1.0.x, such as '1.0.3'");
                }
                Some(text.to_owned())
            }
        };
        let (_, namespace, name, version) = (needed("dsl"), needed("namespace"), needed("name"), needed("version"));
        Some(Identity { namespace: namespace?, name: name?, version: version? })
    }

    fn evaluate(&mut self, node: &Node, path: &Path) {
        let Some(fields) = self.object(node, path, &["language", "mode"], &[]) else { return };
        for (name, supported) in [("language", "jq"), ("mode", "strict")] {
            if let Some(value) = fields.get(name)
                && self.text(value, &path.field(name)).is_some_and(|text| text != supported)
            {
                self.error(value, &path.field(name), format!("only `{supported}` is supported"));
            }
        }
    }

    /// `input`, `output` or `export`.
    fn transformation(&mut self, node: Option<&Node>, path: &Path, data: &str, names: &[String]) -> Transformation {
        let Some(node) = node else { return Transformation::default() };
        let Some(fields) = self.object(node, path, &["schema", data], &[]) else { return Transformation::default() };
        Transformation {
            schema: fields.get("schema").and_then(|schema| self.schema(schema, &path.field("schema"))),
            data: fields.get(data).and_then(|node| self.data(node, &path.field(data), names)),
        }
    }

    fn schema(&mut self, node: &Node, path: &Path) -> Option<Schema> {
        let fields = self.object(node, path, &["format", "document"], &["resource"])?;
        if let Some(format) = fields.get("format")
            && self.text(format, &path.field("format")).is_some_and(|text| text != "json" && !text.starts_with("json:"))
        {
            self.error(format, &path.field("format"), "only `json` is supported: JSON Schema");
        }
        let Some(document) = fields.get("document") else {
            self.missing(node, path, "document");
            return None;
        };
        match Schema::new(&document.value()) {
            Ok(schema) => Some(schema),
            Err(problem) => {
                self.error(document, &path.field("document"), format!("it is no JSON Schema: {problem}"));
                None
            }
        }
    }

    /// Data: a text is an expression, with or without `${ }`.
    fn data(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Template> {
        match &node.content {
            Content::Text(_) => self.expression(node, path, names).map(Template::Expression),
            Content::Object(_) => self.template(node, path, names),
            _ => {
                self.error(node, path, format!("an expression or an object is needed here, not {}", node.kind()));
                None
            }
        }
    }

    /// An expression, with or without `${ }`.
    fn expression(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Expression> {
        let text = self.text(node, path)?;
        let source = unwrapped(text).unwrap_or(text).to_owned();
        match Expression::compile(&source, names) {
            Ok(expression) => Some(expression),
            Err(problem) => {
                self.error(node, path, problem);
                None
            }
        }
    }

    /// Any value; texts in `${ }` are expressions.
    fn template(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Template> {
        match &node.content {
            Content::Text(text) if unwrapped(text).is_some() => {
                self.expression(node, path, names).map(Template::Expression)
            }
            Content::Text(text) if text.contains("${") => {
                self.error(
                    node,
                    path,
                    "`${` in the middle of a text: write the whole value as one expression in `${ }`",
                );
                None
            }
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
                Some(Template::Constant(node.value()))
            }
            Content::List(elements) => {
                let read: Vec<_> = (elements.iter().enumerate())
                    .map(|(index, element)| self.template(element, &path.index(index), names))
                    .collect();
                read.into_iter().collect::<Option<_>>().map(Template::List)
            }
            Content::Object(fields) => {
                let read: Vec<_> = (fields.iter())
                    .map(|Field { name, value, .. }| {
                        Some((name.clone(), self.template(value, &path.field(name), names)?))
                    })
                    .collect();
                read.into_iter().collect::<Option<_>>().map(Template::Object)
            }
        }
    }

    /// `timeout`: an object with `after`, or the name of one of `use.timeouts`.
    fn timeout(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Length> {
        if let Content::Text(name) = &node.content {
            let found = self.uses.timeouts.get(name).cloned();
            if found.is_none() {
                self.error(node, path, format!("there is no `{name}` in `use.timeouts`"));
            }
            return found;
        }
        let fields = self.object(node, path, &["after"], &[])?;
        match fields.get("after") {
            Some(after) => self.length(after, &path.field("after"), names),
            None => {
                self.missing(node, path, "after");
                None
            }
        }
    }

    /// A duration, or an expression that gives one.
    fn length(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Length> {
        if let Content::Text(text) = &node.content
            && unwrapped(text).is_some()
        {
            return self.expression(node, path, names).map(Length::Expression);
        }
        self.fixed_length(node, path).map(Length::Fixed)
    }

    fn fixed_length(&mut self, node: &Node, path: &Path) -> Option<std::time::Duration> {
        match length::parse(&node.value()) {
            Ok(length) => Some(length),
            Err(problem) => {
                self.error(node, path, problem);
                None
            }
        }
    }

    /// An object that has only these fields. `unsupported` ones are of the DSL all the same.
    fn object<'n>(&mut self, node: &'n Node, path: &Path, known: &[&str], unsupported: &[&str]) -> Option<Fields<'n>> {
        let Content::Object(fields) = &node.content else {
            self.error(node, path, format!("an object is needed here, not {}", node.kind()));
            return None;
        };
        for field in fields {
            let name = field.name.as_str();
            if known.contains(&name) {
                continue;
            }
            let message = if unsupported.contains(&name) {
                format!("`{name}` is not supported")
            } else {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                format!("unknown field `{name}`; there is {}", known.join(", "))
            };
            self.complaints.add(field.at, &path.field(name).dotted, message);
        }
        Some(Fields(fields))
    }

    fn list<'n>(&mut self, node: &'n Node, path: &Path) -> Option<&'n [Node]> {
        match &node.content {
            Content::List(elements) => Some(elements),
            _ => {
                self.error(node, path, format!("a list is needed here, not {}", node.kind()));
                None
            }
        }
    }

    fn text<'n>(&mut self, node: &'n Node, path: &Path) -> Option<&'n str> {
        match &node.content {
            Content::Text(text) => Some(text),
            _ => {
                self.error(node, path, format!("a text is needed here, not {}", node.kind()));
                None
            }
        }
    }

    /// A field that has to be there: a name or a password, which YAML may take for a number.
    fn needed_word(
        &mut self,
        node: &Node,
        fields: Fields<'_>,
        path: &Path,
        name: &str,
        names: &[String],
    ) -> Option<Template> {
        match fields.get(name) {
            Some(Node { content: Content::Number(number), .. }) => Some(constant(&number.to_string())),
            _ => self.needed_text(node, fields, path, name, names),
        }
    }

    /// A field that has to be there: a text, or an expression that gives one.
    fn needed_text(
        &mut self,
        node: &Node,
        fields: Fields<'_>,
        path: &Path,
        name: &str,
        names: &[String],
    ) -> Option<Template> {
        if fields.get(name).is_none() {
            self.missing(node, path, name);
        }
        self.optional_text(fields, path, name, names)
    }

    fn optional_text(&mut self, fields: Fields<'_>, path: &Path, name: &str, names: &[String]) -> Option<Template> {
        let node = fields.get(name)?;
        let path = path.field(name);
        self.text(node, &path)?;
        self.template(node, &path, names)
    }

    fn boolean(&mut self, node: &Node, path: &Path) -> Option<bool> {
        match node.content {
            Content::Bool(value) => Some(value),
            _ => {
                self.error(node, path, format!("`true` or `false` is needed here, not {}", node.kind()));
                None
            }
        }
    }

    fn whole_number(&mut self, node: &Node, path: &Path) -> Option<u64> {
        let number = match &node.content {
            Content::Number(number) => number.as_u64(),
            _ => None,
        };
        if number.is_none() {
            self.error(node, path, "a whole number from 0 is needed here");
        }
        number
    }

    /// A name that variables may have.
    fn variable(&mut self, node: &Node, path: &Path) -> Option<String> {
        const TAKEN: [&str; 9] =
            ["context", "task", "workflow", "runtime", "input", "output", "secrets", "authorization", "__loc__"];
        let name = self.text(node, path)?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.len() <= NAME_BYTES_MAX;
        if !is_name {
            self.error(node, path, "a variable's name has letters, digits and `_`, and no `$`");
            return None;
        }
        if TAKEN.contains(&name) {
            self.error(node, path, format!("`${name}` means something else already"));
            return None;
        }
        Some(name.to_owned())
    }

    fn error(&mut self, node: &Node, path: &Path, message: impl Into<String>) {
        self.complaints.add(node.at, &path.dotted, message);
    }

    fn missing(&mut self, node: &Node, path: &Path, field: &str) {
        self.error(node, path, format!("the field `{field}` is missing"));
    }

    fn is_too_deep(&mut self, node: &Node, path: &Path, depth: usize) -> bool {
        self.depth = self.depth.max(depth);
        if depth > NESTING_MAX {
            self.error(node, path, format!("tasks nest at most {NESTING_MAX} levels deep"));
            return true;
        }
        false
    }

    fn is_one_too_many(&mut self, node: &Node, path: &Path) -> bool {
        self.tasks += 1;
        if self.tasks == TASKS_MAX + 1 {
            self.error(node, path, format!("a workflow has at most {TASKS_MAX} tasks"));
        }
        self.tasks > TASKS_MAX
    }
}

/// The fields of an object.
#[derive(Clone, Copy)]
struct Fields<'n>(&'n [Field]);

impl<'n> Fields<'n> {
    fn get(self, name: &str) -> Option<&'n Node> {
        self.0.iter().find(|field| field.name == name).map(|field| &field.value)
    }
}

/// What is inside `${ }`.
fn unwrapped(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix("${")?.strip_suffix('}')?.trim())
}

/// The first name that comes twice.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// A constant text.
fn constant(text: &str) -> Template {
    Template::Constant(Value::String(text.to_owned()))
}
