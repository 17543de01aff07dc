//! Expressions in definitions: what they may read, and where in the text they are wrong.

use std::{collections::BTreeMap, sync::Arc};

use super::{Checker, Place, Text, shorten};
use crate::expression::{Expression, ExpressionError, Scope, Type};

/// What the expressions of a process may read (DESIGN 2.2), given the type of its record and the names of its stages
/// and steps, those of its paths among the steps.
///
/// Whoever evaluates sets variables of just this shape. `decision` and `on_behalf_of` are texts or null; `outputs` is an
/// object, empty until the step has completed.
pub fn scope<'a>(
    record: &Type,
    stages: impl IntoIterator<Item = &'a str>,
    steps: impl IntoIterator<Item = &'a str>,
) -> Scope {
    let step = Type::closed_object([("status", Type::String), ("outputs", Type::Dyn), ("decision", Type::Dyn)]);
    let stage = Type::closed_object([("status", Type::String)]);
    summary_scope(record)
        .with("steps", each(steps, &step))
        .with("stages", each(stages, &stage))
        .with("inputs", Type::Dyn)
}

/// What a summary may read: it is made when a record is submitted, before anything has run.
pub fn summary_scope(record: &Type) -> Scope {
    let submission = Type::closed_object([
        ("id", Type::String),
        ("submitter", Type::String),
        ("on_behalf_of", Type::Dyn),
        ("comment", Type::String),
        ("round", Type::Int),
        ("submitted_at", Type::Timestamp),
    ]);
    Scope::new().with("record", record.clone()).with("submission", submission).with("now", Type::Timestamp)
}

/// What the condition of a trigger may read: nothing has been submitted yet.
pub(super) fn trigger_scope(record: &Type) -> Scope {
    Scope::new().with("record", record.clone()).with("now", Type::Timestamp)
}

fn each<'a>(names: impl IntoIterator<Item = &'a str>, ty: &Type) -> Type {
    let fields: BTreeMap<String, Type> = names.into_iter().map(|name| (name.to_owned(), ty.clone())).collect();
    Type::Object { fields: Arc::new(fields), open: false }
}

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Condition,
    Text,
    /// Whom to ask: a text, or a list of texts.
    Assignees,
    Anything,
}

impl Checker<'_> {
    pub(super) fn condition(&mut self, source: &Text, path: &str) -> Option<Expression> {
        self.expression(source, path, Wanted::Condition)
    }

    pub(super) fn expression(&mut self, source: &Text, path: &str, wanted: Wanted) -> Option<Expression> {
        let checked = Expression::parse(&source.value).and_then(|expression| {
            match wanted {
                Wanted::Condition => expression.check_bool(&self.scope)?,
                Wanted::Anything => drop(expression.check(&self.scope)?),
                Wanted::Assignees => match expression.check(&self.scope)? {
                    Type::String | Type::Dyn => {}
                    Type::List(element) if matches!(*element, Type::String | Type::Dyn) => {}
                    other => {
                        let message = format!(
                            "the result is {other}; a string or a list of strings is needed here, such as 'bob' or \
                             ['user:bob', 'group:finance']"
                        );
                        return Err(ExpressionError { message, offset: None });
                    }
                },
                Wanted::Text => match expression.check(&self.scope)? {
                    Type::String | Type::Dyn => {}
                    other => {
                        let message = format!("the result is {other}; a string is needed here");
                        return Err(ExpressionError { message, offset: None });
                    }
                },
            }
            Ok(expression)
        });
        match checked {
            Ok(expression) => {
                self.warn_of_undeclared_fields(&expression, source, path);
                Some(expression)
            }
            Err(ExpressionError { message, offset }) => {
                let place = self.place_in(source, offset.unwrap_or(0));
                self.error(place, path, message);
                None
            }
        }
    }

    /// An object may hold fields that its schema does not declare, so that a misspelt one is no error; but it fails when
    /// it is evaluated.
    pub(super) fn warn_of_undeclared_fields(&mut self, expression: &Expression, source: &Text, path: &str) {
        let Type::Object { fields, open: true } = &self.record else { return };
        if fields.is_empty() {
            return;
        }
        let undeclared = expression.paths().iter().find_map(|path| match path.as_slice() {
            [root, field, ..] if root == "record" && !fields.contains_key(field) => Some(field),
            _ => None,
        });
        if let Some(field) = undeclared {
            let hint = self.hint(field, fields.keys().map(String::as_str));
            let message = format!("the schema of the record does not declare `{}`{hint}", shorten(field));
            self.warning(source, path, message);
        }
    }

    /// Where in the text a byte of an expression is. Exact where the expression is written on one line without escapes;
    /// else its beginning.
    fn place_in(&self, source: &Text, offset: usize) -> Place {
        let start = Place::from(source);
        if source.referenced != source.defined {
            return start;
        }
        let span = source.defined.span();
        let written = span.byte_offset().zip(span.byte_len()).and_then(|(from, length)| {
            let from = usize::try_from(from).ok()?;
            self.text.get(from..from.checked_add(usize::try_from(length).ok()?)?)
        });
        let quote = match written {
            Some(written) if written == source.value => 0,
            Some(written) if unquote(written) == Some(source.value.as_str()) => 1,
            _ => return start,
        };
        let before = source.value.get(..offset).unwrap_or_default();
        if before.contains(['\n', '\r']) {
            return start;
        }
        Place { line: start.line, column: start.column + quote + before.chars().count() as u64 }
    }
}

fn unquote(written: &str) -> Option<&str> {
    let quoted = |quote: char| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\''))
}
