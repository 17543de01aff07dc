//! What a process says of its record: what a change of it does, and which places of it matter where.

use serde_saphyr::Spanned;

use super::{Checker, Text, shorten};
use crate::{
    definition::{OnChange, RecordPath, source},
    expression::Expression,
    trigger::{ChangeKind, Trigger},
};

/// How many places of the record a list names: more fields than a reviewer looks at.
pub const RECORD_PATHS_MAX: usize = 50;

/// What can happen to a record where it lives.
pub(super) const CHANGES: [(&str, ChangeKind); 2] =
    [("created", ChangeKind::Created), ("updated", ChangeKind::Updated)];

impl Checker<'_> {
    pub(super) fn on_change(&mut self, word: Option<&Text>) -> OnChange {
        const WORDS: [(&str, OnChange); 4] = [
            ("deny", OnChange::Deny),
            ("dismiss_affected", OnChange::DismissAffected),
            ("dismiss_all", OnChange::DismissAll),
            ("keep", OnChange::Keep),
        ];
        word.and_then(|word| self.word(word, "record.on_change", &WORDS)).unwrap_or_default()
    }

    pub(super) fn trigger(&mut self, source: &Spanned<source::Trigger>) -> Option<Trigger> {
        let Spanned { value: source::Trigger { on, when }, .. } = source;
        let kinds = self.list(on, "trigger.on", "kind of change", CHANGES.len()).iter().enumerate();
        let kinds: Vec<Option<ChangeKind>> =
            kinds.map(|(index, kind)| self.word(kind, &format!("trigger.on[{index}]"), &CHANGES)).collect();
        let when = when.as_ref().map(|when| self.condition(when, "trigger.when"));
        Some(Trigger {
            on: kinds.into_iter().collect::<Option<_>>()?,
            when: match when {
                Some(when) => Some(when?),
                None => None,
            },
        })
    }

    /// Places in the record, each written as names of fields with dots between them.
    pub(super) fn record_paths(&mut self, paths: &Spanned<Vec<Text>>, at: &str) -> Option<Vec<RecordPath>> {
        let list = self.list(paths, at, "field of the record", RECORD_PATHS_MAX);
        let read: Vec<_> =
            (list.iter().enumerate()).map(|(index, path)| self.record_path(path, &format!("{at}[{index}]"))).collect();
        read.into_iter().collect()
    }

    fn record_path(&mut self, text: &Text, at: &str) -> Option<RecordPath> {
        let names: Vec<String> = text.value.split('.').map(str::to_owned).collect();
        // What an expression could read as a field, and nothing else.
        let reads = Expression::parse(&format!("record.{}", text.value));
        let whole: Vec<String> = std::iter::once("record".to_owned()).chain(names.iter().cloned()).collect();
        let is_path = |expression: &Expression| expression.paths().iter().eq([&whole]);
        let Some(expression) = reads.ok().filter(is_path) else {
            let message = format!(
                "`{}` is not a field of the record; write the names of fields with dots between them, such as `amount` or \
                 `vendor.name`",
                shorten(&text.value)
            );
            self.error(text, at, message);
            return None;
        };
        if let Err(error) = expression.check(&self.scope) {
            self.error(text, at, error.message);
            return None;
        }
        self.warn_of_undeclared_fields(&expression, text, at);
        Some(RecordPath(names))
    }
}
