//! Tasks.

use super::{Fields, NAME_BYTES_MAX, Names, Path, Reader, repeated};
use crate::{
    expression::Template,
    model::{Action, Backoff, Case, ErrorTemplate, For, Retry, Task, Then, Try},
    node::{Content, Field, Node},
};

/// What every task may have.
const COMMON: [&str; 7] = ["if", "input", "output", "export", "timeout", "then", "metadata"];

/// What a task is told by, and the fields that go with it.
const KINDS: [(&str, &[&str]); 11] = [
    ("do", &[]),
    ("set", &[]),
    ("switch", &[]),
    ("for", &["while", "do"]),
    ("fork", &[]),
    ("try", &["catch"]),
    ("raise", &[]),
    ("wait", &[]),
    ("emit", &[]),
    ("run", &[]),
    ("call", &["with"]),
];

/// Tasks of the DSL that are not carried out here.
const UNSUPPORTED: [&str; 1] = ["listen"];

impl Reader {
    pub(super) fn task_list(&mut self, node: &Node, path: &Path, names: &Names) -> Vec<Task> {
        if self.is_too_deep(node, path, names.depth) {
            return Vec::new();
        }
        let Some(items) = self.list(node, path) else { return Vec::new() };
        if items.is_empty() {
            self.error(node, path, "there has to be at least one task");
        }
        let named: Vec<(&Field, Path)> = (items.iter().enumerate())
            .filter_map(|(index, item)| match &item.content {
                Content::Object(fields) if fields.len() == 1 => Some((&fields[0], path.index(index))),
                _ => {
                    self.error(
                        item,
                        &path.index(index),
                        "an object with one field is needed here: the task by its name",
                    );
                    None
                }
            })
            .collect();
        let siblings: Vec<&str> = named.iter().map(|(field, _)| field.name.as_str()).collect();
        if let Some(name) = repeated(siblings.iter().copied()) {
            self.error(node, path, format!("two tasks are named `{name}`"));
        }
        named
            .iter()
            .filter_map(|(field, path)| {
                let path = path.field(&field.name);
                if self.is_one_too_many(&field.value, &path) {
                    return None;
                }
                self.task(field, &path, names, &siblings)
            })
            .collect()
    }

    fn task(&mut self, field: &Field, path: &Path, names: &Names, siblings: &[&str]) -> Option<Task> {
        let Field { name, value: node, .. } = field;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            self.error(node, path, format!("a task's name has 1 to {NAME_BYTES_MAX} bytes"));
        }
        let Content::Object(given) = &node.content else {
            self.error(node, path, format!("a task is an object, not {}", node.kind()));
            return None;
        };
        if let Some(field) = given.iter().find(|field| UNSUPPORTED.contains(&field.name.as_str())) {
            let message = format!("the task `{}` is not supported", field.name);
            self.complaints.add(field.at, &path.field(&field.name).dotted, message);
            return None;
        }
        // `for` comes with a `do` of its own.
        let has = |kind: &str| given.iter().any(|field| field.name == kind);
        let kinds: Vec<_> = KINDS.iter().filter(|(kind, _)| has(kind) && !(*kind == "do" && has("for"))).collect();
        let [(kind, extra)] = kinds.as_slice() else {
            let known: Vec<String> = KINDS.iter().map(|(kind, _)| format!("`{kind}`")).collect();
            self.error(node, path, format!("a task is exactly one of {}", known.join(", ")));
            return None;
        };
        let known: Vec<&str> = COMMON.iter().copied().chain([*kind]).chain(extra.iter().copied()).collect();
        let fields = self.object(node, path, &known, &[])?;
        let before = names.with(&[]);
        let during = names.with(&["input"]);
        let after = names.with(&["input", "output"]);
        let condition = fields.get("if").and_then(|node| self.expression(node, &path.field("if"), &before));
        let input = self.transformation(fields.get("input"), &path.field("input"), "from", &before);
        let output = self.transformation(fields.get("output"), &path.field("output"), "as", &during);
        let export = self.transformation(fields.get("export"), &path.field("export"), "as", &after);
        let timeout = fields.get("timeout").and_then(|node| self.timeout(node, &path.field("timeout"), &during));
        let then = match fields.get("then") {
            Some(node) => self.then(node, &path.field("then"), names, siblings)?,
            None => Then::Continue,
        };
        let action = self.action(kind, fields, (node, path), names, siblings)?;
        let (pointer, definition) = (path.pointer.clone(), node.value());
        Some(Task { name: name.clone(), pointer, definition, condition, input, output, export, timeout, then, action })
    }

    fn then(&mut self, node: &Node, path: &Path, names: &Names, siblings: &[&str]) -> Option<Then> {
        match self.text(node, path)? {
            "continue" => Some(Then::Continue),
            "exit" => Some(Then::Exit),
            "end" if names.in_fork => {
                self.error(node, path, "a branch of a fork does not end the workflow; `exit` ends the branch");
                None
            }
            "end" => Some(Then::End),
            name => match siblings.iter().position(|sibling| *sibling == name) {
                Some(index) => Some(Then::Task(index)),
                None => {
                    self.error(node, path, format!("there is no task `{name}` in the same list"));
                    None
                }
            },
        }
    }

    fn action(
        &mut self,
        kind: &str,
        fields: Fields<'_>,
        task: (&Node, &Path),
        names: &Names,
        siblings: &[&str],
    ) -> Option<Action> {
        let during = names.with(&["input"]);
        let node = fields.get(kind)?;
        let path = &task.1.field(kind);
        match kind {
            "do" => Some(Action::Do(self.task_list(node, path, &names.inside(&[])))),
            "set" => match node.content {
                Content::Object(_) | Content::Text(_) => self.data(node, path, &during).map(Action::Set),
                _ => {
                    self.error(node, path, "an object is needed here");
                    None
                }
            },
            "switch" => self.switch(node, path, names, siblings).map(Action::Switch),
            "for" => self.for_each(node, fields, task, names),
            "fork" => self.fork(node, path, names),
            "try" => self.try_catch(node, fields.get("catch"), task, names),
            "raise" => {
                let fields = self.object(node, path, &["error"], &[])?;
                let Some(error) = fields.get("error") else {
                    self.missing(node, path, "error");
                    return None;
                };
                self.named_error(error, &path.field("error"), names).map(Action::Raise)
            }
            "emit" => self.emit(node, path, names).map(|event| Action::Emit(Box::new(event))),
            "run" => self.run(node, path, names).map(|run| Action::Run(Box::new(run))),
            "wait" => self.length(node, path, &during).map(Action::Wait),
            _ => self.call(node, fields.get("with"), task, names),
        }
    }

    fn switch(&mut self, node: &Node, path: &Path, names: &Names, siblings: &[&str]) -> Option<Vec<Case>> {
        let items = self.list(node, path)?;
        let mut cases = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let Content::Object(fields) = &item.content else {
                self.error(item, &path, "an object with one field is needed here: the case by its name");
                continue;
            };
            let [field] = fields.as_slice() else {
                self.error(item, &path, "an object with one field is needed here: the case by its name");
                continue;
            };
            let path = path.field(&field.name);
            let Some(given) = self.object(&field.value, &path, &["when", "then"], &[]) else { continue };
            let when =
                given.get("when").map(|node| self.expression(node, &path.field("when"), &names.with(&["input"])));
            if when.is_none() && index + 1 < items.len() {
                self.error(&field.value, &path, "a case without `when` has to be the last one");
            }
            match given.get("then") {
                None => self.missing(&field.value, &path, "then"),
                Some(node) => {
                    let then = self.then(node, &path.field("then"), names, siblings);
                    cases.extend(then.map(|then| Case { when: when.flatten(), then }));
                }
            }
        }
        Some(cases)
    }

    fn for_each(&mut self, node: &Node, fields: Fields<'_>, task: (&Node, &Path), names: &Names) -> Option<Action> {
        let path = task.1.field("for");
        let given = self.object(node, &path, &["each", "in", "at"], &[])?;
        let mut name = |field: &str, default: &str| match given.get(field) {
            Some(node) => self.variable(node, &path.field(field)),
            None => Some(default.to_owned()),
        };
        let (each, at) = (name("each", "item")?, name("at", "index")?);
        let Some(list) = given.get("in") else {
            self.missing(node, &path, "in");
            return None;
        };
        let list = self.expression(list, &path.field("in"), &names.with(&["input"]));
        let inside = names.inside(&[&each, &at]);
        let condition =
            fields.get("while").map(|node| self.expression(node, &task.1.field("while"), &inside.with(&["input"])));
        let Some(tasks) = fields.get("do") else {
            self.missing(task.0, task.1, "do");
            return None;
        };
        let tasks = self.task_list(tasks, &task.1.field("do"), &inside);
        Some(Action::For(Box::new(For { each, at, list: list?, condition: condition.flatten(), tasks })))
    }

    fn fork(&mut self, node: &Node, path: &Path, names: &Names) -> Option<Action> {
        let fields = self.object(node, path, &["branches", "compete"], &[])?;
        let compete = fields.get("compete").and_then(|node| self.boolean(node, &path.field("compete")));
        let Some(branches) = fields.get("branches") else {
            self.missing(node, path, "branches");
            return None;
        };
        let inside = Names { in_fork: true, ..names.inside(&[]) };
        let branches = self.task_list(branches, &path.field("branches"), &inside);
        Some(Action::Fork { branches, compete: compete.unwrap_or_default() })
    }

    fn try_catch(&mut self, node: &Node, catch: Option<&Node>, task: (&Node, &Path), names: &Names) -> Option<Action> {
        let tasks = self.task_list(node, &task.1.field("try"), &names.inside(&[]));
        let Some(catch) = catch else {
            self.missing(task.0, task.1, "catch");
            return None;
        };
        let path = task.1.field("catch");
        let fields = self.object(catch, &path, &["errors", "as", "when", "exceptWhen", "retry", "do"], &[])?;
        let name = match fields.get("as") {
            Some(node) => self.variable(node, &path.field("as"))?,
            None => "error".to_owned(),
        };
        let inside = names.inside(&[&name]);
        let known = inside.with(&["input"]);
        let errors =
            fields.get("errors").map(|node| self.error_filter(node, &path.field("errors"), &names.with(&["input"])));
        let when = fields.get("when").map(|node| self.expression(node, &path.field("when"), &known));
        let except_when = fields.get("exceptWhen").map(|node| self.expression(node, &path.field("exceptWhen"), &known));
        let retry = fields.get("retry").map(|node| self.named_retry(node, &path.field("retry"), &inside));
        let handler = fields.get("do").map(|node| self.task_list(node, &path.field("do"), &inside));
        Some(Action::Try(Box::new(Try {
            tasks,
            errors: errors.flatten().unwrap_or_default(),
            name,
            when: when.flatten(),
            except_when: except_when.flatten(),
            retry: retry.flatten(),
            handler,
        })))
    }

    fn error_filter(&mut self, node: &Node, path: &Path, names: &[String]) -> Option<Vec<(String, Template)>> {
        let fields = self.object(node, path, &["with"], &[])?;
        let with = fields.get("with")?;
        let path = path.field("with");
        self.object(with, &path, &["type", "status", "instance", "title", "detail"], &[])?;
        match self.template(with, &path, names)? {
            Template::Object(properties) => Some(properties),
            Template::Constant(_) | Template::Expression(_) | Template::List(_) => None,
        }
    }

    fn named_error(&mut self, node: &Node, path: &Path, names: &Names) -> Option<ErrorTemplate> {
        if let Content::Text(name) = &node.content {
            let Some((node, path)) = self.uses.errors.get(name).cloned() else {
                self.error(node, path, format!("there is no `{name}` in `use.errors`"));
                return None;
            };
            return self.error_template(&node, &path, names);
        }
        self.error_template(node, path, names)
    }

    pub(super) fn error_template(&mut self, node: &Node, path: &Path, names: &Names) -> Option<ErrorTemplate> {
        let fields = self.object(node, path, &["type", "status", "title", "detail", "instance"], &[])?;
        let names = names.with(&["input"]);
        for needed in ["type", "status"] {
            if fields.get(needed).is_none() {
                self.missing(node, path, needed);
            }
        }
        let status = fields.get("status").and_then(|node| {
            let status = self.whole_number(node, &path.field("status"))?;
            let status = u16::try_from(status).ok().filter(|status| (400..=599).contains(status));
            if status.is_none() {
                self.error(node, &path.field("status"), "a status of an error is 400 to 599");
            }
            status
        });
        let mut part = |name: &str| match fields.get(name) {
            Some(node) => {
                self.text(node, &path.field(name))?;
                self.template(node, &path.field(name), &names)
            }
            None => None,
        };
        let (kind, title, detail) = (part("type"), part("title"), part("detail"));
        let instance = fields.get("instance").and_then(|node| self.text(node, &path.field("instance")));
        Some(ErrorTemplate { kind: kind?, status: status?, title, detail, instance: instance.map(str::to_owned) })
    }

    fn named_retry(&mut self, node: &Node, path: &Path, names: &Names) -> Option<Retry> {
        if let Content::Text(name) = &node.content {
            let Some((node, path)) = self.uses.retries.get(name).cloned() else {
                self.error(node, path, format!("there is no `{name}` in `use.retries`"));
                return None;
            };
            return self.retry(&node, &path, names);
        }
        self.retry(node, path, names)
    }

    pub(super) fn retry(&mut self, node: &Node, path: &Path, names: &Names) -> Option<Retry> {
        let fields = self.object(node, path, &["when", "exceptWhen", "delay", "backoff", "limit", "jitter"], &[])?;
        let known = names.with(&["input"]);
        let when = fields.get("when").map(|node| self.expression(node, &path.field("when"), &known));
        let except_when = fields.get("exceptWhen").map(|node| self.expression(node, &path.field("exceptWhen"), &known));
        let delay = fields.get("delay").map(|node| self.fixed_length(node, &path.field("delay")));
        let backoff = match fields.get("backoff") {
            None => Backoff::Constant,
            Some(node) => self.backoff(node, &path.field("backoff"))?,
        };
        let (mut count, mut attempt, mut duration) = (None, None, None);
        if let Some(limit) = fields.get("limit") {
            let path = path.field("limit");
            let fields = self.object(limit, &path, &["attempt", "duration"], &[])?;
            duration = fields.get("duration").and_then(|node| self.fixed_length(node, &path.field("duration")));
            if let Some(node) = fields.get("attempt") {
                let path = path.field("attempt");
                let fields = self.object(node, &path, &["count", "duration"], &[])?;
                count = fields.get("count").and_then(|node| self.whole_number(node, &path.field("count")));
                attempt = fields.get("duration").and_then(|node| self.fixed_length(node, &path.field("duration")));
            }
        }
        let mut jitter = None;
        if let Some(node) = fields.get("jitter") {
            let path = path.field("jitter");
            let fields = self.object(node, &path, &["from", "to"], &[])?;
            let mut bound = |name: &str| match fields.get(name) {
                Some(node) => self.fixed_length(node, &path.field(name)),
                None => {
                    self.missing(node, &path, name);
                    None
                }
            };
            jitter = bound("from").zip(bound("to"));
            if jitter.is_some_and(|(from, to)| from > to) {
                self.error(node, &path, "`from` is more than `to`");
            }
        }
        Some(Retry {
            when: when.flatten(),
            except_when: except_when.flatten(),
            delay: delay.flatten().unwrap_or_default(),
            backoff,
            count,
            attempt,
            duration,
            jitter,
        })
    }

    fn backoff(&mut self, node: &Node, path: &Path) -> Option<Backoff> {
        let kinds = ["constant", "linear", "exponential"];
        let fields = self.object(node, path, &kinds, &[])?;
        let given: Vec<&str> = kinds.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
        let [kind] = given.as_slice() else {
            self.error(node, path, "a backoff is one of `constant: {}`, `linear: {}` and `exponential: {}`");
            return None;
        };
        if let Some(node) = fields.get(kind) {
            self.object(node, &path.field(kind), &[], &["definition"])?;
        }
        Some(match *kind {
            "constant" => Backoff::Constant,
            "linear" => Backoff::Linear,
            _ => Backoff::Exponential,
        })
    }
}
