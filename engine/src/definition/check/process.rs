//! A process as a whole: its record, its stages and its paths.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Checker, Text, condition::Condition, expressions::Wanted, expressions::scope, expressions::summary_scope,
    expressions::trigger_scope, routing::Map,
};
use crate::{
    definition::{Process, RecordType, Schema, Stage, StageExit, Step, source},
    expression::Type,
};

/// How many stages a process has. Larger ones are no longer understood by the people who must answer for them.
pub const STAGES_MAX: usize = 100;

/// How many steps a stage or a path has: each pass of progress looks at all of them.
pub const STEPS_MAX: usize = 100;

/// How long a title is: it is shown on one line.
pub const TITLE_CHARS_MAX: usize = 200;

/// Names of stages that the paths have, and that routing has for the end.
const STAGE_NAMES_RESERVED: [&str; 4] = ["end", "rejection", "recall", "cancel"];

/// What a process says about its steps, before any of them is read.
pub(super) struct Facts<'s> {
    /// Steps by name, and whether they ask people.
    pub(super) steps: BTreeMap<&'s str, bool>,
}

/// The steps that run together: those of a stage, or of a path.
#[derive(Clone, Copy)]
pub(super) struct Group<'s> {
    /// Such as "stage `review`" or "the recall path".
    pub(super) name: &'s str,
    pub(super) steps: &'s source::Steps,
    /// Whether it ends when all its steps are completed.
    pub(super) ends_by_default: bool,
    pub(super) is_path: bool,
}

impl Checker<'_> {
    pub(super) fn process(&mut self, source: &source::Process) -> Option<Process> {
        let name = self.definition_name(&source.name, "name");
        let title = self.title(source.title.as_ref(), &name);
        let record = self.record(&source.record);
        let facts = self.facts(source);
        let stages = source.stages.value.iter().map(|stage| stage.value.name.value.as_str());
        self.scope = trigger_scope(&self.record);
        let trigger = source.trigger.as_ref().map(|trigger| self.trigger(trigger));
        self.scope = summary_scope(&self.record);
        let summary = source.summary.as_ref().map(|summary| self.expression(summary, "summary", Wanted::Text));
        self.scope = scope(&self.record, stages, facts.steps.keys().copied());
        let map = Map::new(&source.stages.value);
        let stages = self.list(&source.stages, "stages", "stage", STAGES_MAX);
        let stages: Vec<Option<Stage>> =
            (stages.iter().enumerate()).map(|(index, stage)| self.stage(index, &stage.value, &map, &facts)).collect();
        let on_rejection = self.on_rejection(source.on_rejection.as_ref(), &map);
        self.reach(source, &stages, on_rejection);
        let rejection_path = self.path(source.rejection_path.as_ref(), "rejection_path", "the rejection path", &facts);
        let recall_path = self.path(source.recall_path.as_ref(), "recall_path", "the recall path", &facts);
        let cancel_path = self.path(source.cancel_path.as_ref(), "cancel_path", "the cancel path", &facts);
        self.some_approval(source);
        let tests = self.tests(source, &facts);
        Some(Process {
            name,
            title,
            summary: match summary {
                Some(summary) => Some(summary?),
                None => None,
            },
            record,
            trigger: match trigger {
                Some(trigger) => Some(trigger?),
                None => None,
            },
            stages: stages.into_iter().collect::<Option<_>>()?,
            on_rejection,
            rejection_path: rejection_path?,
            recall_path: recall_path?,
            cancel_path: cancel_path?,
            tests: tests?,
        })
    }

    fn title(&mut self, title: Option<&Text>, name: &str) -> String {
        let Some(title) = title else { return name.to_owned() };
        if title.value.trim().is_empty() || title.value.chars().count() > TITLE_CHARS_MAX {
            self.error(title, "title", format!("a title has 1 to {TITLE_CHARS_MAX} characters"));
        }
        title.value.clone()
    }

    fn record(&mut self, record: &source::Record) -> RecordType {
        let name = &record.record_type;
        let sound = name.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
            && name.value.len() <= super::NAME_CHARS_MAX;
        if !sound {
            let message = format!(
                "`{}` cannot be used as a record type; use up to {} of a-z, A-Z, 0-9, `.`, `_` and `-`, and begin with a \
                 letter or `_`",
                super::shorten(&name.value),
                super::NAME_CHARS_MAX,
            );
            self.error(name, "record.type", message);
        }
        let schema = record.schema.as_ref().and_then(|schema| {
            let compiled = self.schema(schema, "record.schema")?;
            match schema.value.get("type") {
                None => {}
                Some(kind) if kind == "object" => {}
                Some(_) => self.error(schema, "record.schema", "the data of a record is an object: say `type: object`"),
            }
            self.record = Type::from_json_schema(&schema.value);
            Some(compiled)
        });
        let on_change = self.on_change(record.on_change.as_ref());
        RecordType { name: name.value.clone(), schema, expression_type: self.record.clone(), on_change }
    }

    /// Compiles a schema.
    pub(super) fn schema(&mut self, schema: &serde_saphyr::Spanned<crate::Json>, path: &str) -> Option<Arc<Schema>> {
        match Schema::compile(&schema.value) {
            Ok(compiled) => Some(Arc::new(compiled)),
            Err(message) => {
                self.error(schema, path, format!("the schema cannot be used: {message}"));
                None
            }
        }
    }

    /// Collects names, and complains of those that cannot be used or are used twice.
    fn facts<'s>(&mut self, source: &'s source::Process) -> Facts<'s> {
        let mut stages: BTreeMap<&str, &Text> = BTreeMap::new();
        let mut steps: BTreeMap<&str, (&Text, bool)> = BTreeMap::new();
        for (index, stage) in source.stages.value.iter().enumerate() {
            let name = &stage.value.name;
            let path = format!("stages[{index}].name");
            self.expression_name(name, &path);
            if STAGE_NAMES_RESERVED.contains(&name.value.as_str()) {
                let message = format!("`{}` is what Quorate itself calls a stage; use another name", name.value);
                self.error(name, &path, message);
            }
            if let Some(first) = stages.insert(&name.value, name) {
                self.error(name, &path, twice("stage", first));
            }
            self.step_names(&stage.value.steps, &format!("stages[{index}].steps"), &mut steps);
        }
        let paths = [
            (&source.rejection_path, "rejection_path"),
            (&source.recall_path, "recall_path"),
            (&source.cancel_path, "cancel_path"),
        ];
        for (path, name) in paths {
            if let Some(path) = path {
                self.step_names(path, name, &mut steps);
            }
        }
        Facts { steps: steps.into_iter().map(|(name, (_, asks))| (name, asks)).collect() }
    }

    fn step_names<'s>(&mut self, list: &'s source::Steps, path: &str, steps: &mut BTreeMap<&'s str, (&'s Text, bool)>) {
        for (index, step) in list.value.iter().enumerate() {
            let name = &step.value.name;
            let path = format!("{path}[{index}].name");
            self.expression_name(name, &path);
            if let Some((first, _)) = steps.insert(&name.value, (name, step.value.approval.is_some())) {
                self.error(name, &path, twice("step", first));
            }
        }
    }

    fn stage(&mut self, index: usize, source: &source::Stage, map: &Map<'_>, facts: &Facts<'_>) -> Option<Stage> {
        let path = format!("stages[{index}]");
        let group = Group {
            name: &format!("stage `{}`", source.name.value),
            steps: &source.steps,
            ends_by_default: source.complete.is_none(),
            is_path: false,
        };
        let steps = self.steps(group, &format!("{path}.steps"), facts);
        let exit = match &source.complete {
            None => Some(StageExit::AllCompleted),
            Some(complete) => self.complete(complete, &format!("{path}.complete")).map(|condition| match condition {
                Condition::When(expression) => StageExit::When(expression),
                Condition::Evaluation(flow) => StageExit::Evaluation(flow),
            }),
        };
        self.send_back(index, source, map, &path);
        let on_error = self.on_error(source, map, &path);
        let next = self.next(index, source, map, &path);
        Some(Stage {
            name: source.name.value.clone(),
            steps: steps?,
            exit: exit?,
            on_error,
            fault_path: source.fault_path,
            next: next?,
        })
    }

    fn path(&mut self, steps: Option<&source::Steps>, path: &str, name: &str, facts: &Facts<'_>) -> Option<Vec<Step>> {
        let Some(steps) = steps else { return Some(Vec::new()) };
        // A path ends once nothing of it is in progress, whatever has not started.
        self.steps(Group { name, steps, ends_by_default: false, is_path: true }, path, facts)
    }

    /// A process that asks nobody approves whatever it is given, which is seldom meant (DESIGN 2.4). Fault paths do not
    /// count: they run only after an error.
    fn some_approval(&mut self, source: &source::Process) {
        let mut stages = source.stages.value.iter().map(|stage| &stage.value).filter(|stage| !stage.fault_path);
        let asks = stages.any(|stage| stage.steps.value.iter().any(|step| step.value.approval.is_some()));
        if !asks && !source.allow_no_approvals {
            let message = "no stage has an approval step, so that everything would be approved; if that is meant, say \
                           `allow_no_approvals: true`";
            self.error(&source.stages, "stages", message);
        }
    }
}

fn twice(what: &str, first: &Text) -> String {
    let at = super::Place::from(first);
    format!("there is another {what} `{}`, at {}:{}", first.value, at.line, at.column)
}
