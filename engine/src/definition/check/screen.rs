//! The screens of a screen flow.

use std::{collections::BTreeSet, sync::Arc};

use serde_saphyr::Spanned;

use super::{Checker, NAME_CHARS_MAX, TITLE_CHARS_MAX, Text, expressions::Wanted, shorten, summary_scope};
use crate::{
    Json,
    definition::{Page, PageFields, Schema, Shown, source},
    expression::{Scope, Type},
};

/// How many screens a flow has: a reviewer goes through them one by one.
pub const SCREENS_MAX: usize = 20;

/// How much one screen shows: each is an expression to evaluate, and more is not looked at by anybody.
pub const SHOWN_MAX: usize = 50;

/// How many fields all screens of a flow ask for together: they become outputs of the step.
pub const SCREEN_FIELDS_MAX: usize = 100;

/// How long the description of a screen is, in characters: what can be read before a decision.
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;

/// What an approval step returns by itself.
const OUTPUTS_RESERVED: [&str; 4] = ["comments", "decision", "reused_from", "reviewer"];

impl Checker<'_> {
    /// The screens of a flow. A flow is used by many processes, so that of a record no more is known here than that it is one.
    pub(super) fn screens(&mut self, screens: &Spanned<Vec<Spanned<source::screen::Screen>>>) -> Option<Vec<Page>> {
        self.scope = screen_scope();
        let screens = self.list(screens, "screens", "screen", SCREENS_MAX);
        let (mut names, mut fields) = (BTreeSet::new(), BTreeSet::new());
        let pages: Vec<_> = screens
            .iter()
            .enumerate()
            .map(|(index, screen)| {
                let path = format!("screens[{index}]");
                let name = &screen.value.name;
                self.expression_name(name, &format!("{path}.name"));
                if !names.insert(name.value.as_str()) {
                    let message = format!("there is a screen `{}` already", shorten(&name.value));
                    self.error(name, &format!("{path}.name"), message);
                }
                self.page(&screen.value, &path, &mut fields)
            })
            .collect();
        if let Some(last) = screens.last().filter(|_| fields.len() > SCREEN_FIELDS_MAX) {
            let message = format!("all screens have {} fields together; use at most {SCREEN_FIELDS_MAX}", fields.len());
            self.error(last, "screens", message);
        }
        pages.into_iter().collect()
    }

    fn page(&mut self, source: &source::screen::Screen, path: &str, fields: &mut BTreeSet<String>) -> Option<Page> {
        let title = source.title.as_ref().map(|title| self.text_of(title, &format!("{path}.title"), TITLE_CHARS_MAX));
        let description = source
            .description
            .as_ref()
            .map(|text| self.text_of(text, &format!("{path}.description"), DESCRIPTION_CHARS_MAX));
        let show = match &source.show {
            Some(show) => self.shown(show, &format!("{path}.show")),
            None => Some(Vec::new()),
        };
        let fields = self.page_fields(source, path, fields);
        Some(Page {
            name: source.name.value.clone(),
            title: title.unwrap_or_else(|| source.name.value.clone()),
            description: description.unwrap_or_default(),
            show: show?,
            fields: fields?,
        })
    }

    fn text_of(&mut self, text: &Text, path: &str, most: usize) -> String {
        let length = text.value.chars().count();
        if length > most {
            self.error(text, path, format!("{length} characters are too many; use at most {most}"));
        }
        text.value.clone()
    }

    fn shown(&mut self, show: &Spanned<Vec<source::screen::Shown>>, path: &str) -> Option<Vec<Shown>> {
        let shown: Vec<_> = self
            .at_most(&show.value, show, path, SHOWN_MAX)
            .iter()
            .enumerate()
            .map(|(index, shown)| {
                let label = self.text_of(&shown.label, &format!("{path}[{index}].label"), TITLE_CHARS_MAX);
                let value = self.expression(&shown.value, &format!("{path}[{index}].value"), Wanted::Anything);
                Some(Shown { label, value: value? })
            })
            .collect();
        shown.into_iter().collect()
    }

    /// The fields of a screen, if it has any; `names` holds those of the screens before.
    #[allow(clippy::option_option, reason = "the outer one says whether there was an error, as everywhere here")]
    fn page_fields(
        &mut self,
        source: &source::screen::Screen,
        path: &str,
        names: &mut BTreeSet<String>,
    ) -> Option<Option<Arc<PageFields>>> {
        let Some(schema) = &source.fields else {
            if let Some(value) = source.prefill.values().next() {
                self.error(value, &format!("{path}.prefill"), "this screen has no `fields` to hold it");
                return None;
            }
            return Some(None);
        };
        let path_of_fields = format!("{path}.fields");
        let properties = match schema.value.get("properties").and_then(Json::as_object) {
            Some(properties)
                if !properties.is_empty() && schema.value.get("type").and_then(Json::as_str) == Some("object") =>
            {
                properties
            }
            Some(_) | None => {
                let message = "the fields are a JSON Schema of `type: object` with `properties`, one for each field";
                self.error(schema, &path_of_fields, message);
                return None;
            }
        };
        for name in properties.keys() {
            self.field_name(name, schema, &path_of_fields, names);
        }
        let compiled = match Schema::compile(&schema.value) {
            Ok(compiled) => compiled,
            Err(message) => {
                self.error(schema, &path_of_fields, format!("the schema cannot be used: {message}"));
                return None;
            }
        };
        let prefill: Vec<_> = (source.prefill.iter())
            .map(|(name, value)| {
                let path = format!("{path}.prefill.{}", shorten(name));
                if !properties.contains_key(name) {
                    let hint = self.hint(name, properties.keys().map(String::as_str));
                    self.error(value, &path, format!("this screen has no field `{}`{hint}", shorten(name)));
                }
                Some((name.clone(), self.expression(value, &path, Wanted::Anything)?))
            })
            .collect();
        let prefill = prefill.into_iter().collect::<Option<_>>()?;
        Some(Some(Arc::new(PageFields { schema: schema.value.clone(), compiled, prefill })))
    }

    /// A field becomes an output of the step, beside those that every approval step has: `steps.<step>.outputs.<field>`.
    fn field_name(&mut self, name: &str, at: &Spanned<Json>, path: &str, names: &mut BTreeSet<String>) {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let sound = name.starts_with(is_first)
            && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
            && name.len() <= NAME_CHARS_MAX;
        let shown = shorten(name);
        if !sound {
            let message = format!(
                "`{shown}` cannot be used as the name of a field; use up to {NAME_CHARS_MAX} of a-z, A-Z, 0-9 and `_`, and \
                 do not begin with a digit"
            );
            self.error(at, path, message);
        } else if OUTPUTS_RESERVED.contains(&name) {
            let message = format!("`{shown}` is what every approval step returns; use another name");
            self.error(at, path, message);
        } else if !names.insert(name.to_owned()) {
            let message = format!("another screen of this flow has a field `{shown}` already; use another name");
            self.error(at, path, message);
        }
    }
}

/// What the expressions of screens may read.
fn screen_scope() -> Scope {
    summary_scope(&Type::Dyn).with("steps", Type::Dyn).with("stages", Type::Dyn).with("inputs", Type::Dyn)
}
