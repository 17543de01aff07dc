//! Triggers: which changes of a record, in the system that it lives in, submit it (DESIGN 3).

use jiff::Timestamp;

use crate::{
    Json,
    definition::Process,
    expression::{Expression, Value, Variables},
};

/// What has happened to a record where it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made.
    Created,
    /// It has other data.
    Updated,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Created, Self::Updated];

    /// The kind as it is written everywhere outside the code; definitions write it in small letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
        }
    }
}

/// What submits a record without being asked to.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Changes of these kinds. At least one.
    pub on: Vec<ChangeKind>,
    /// Where this holds: it reads `record` and `now`. `None`: always.
    pub when: Option<Expression>,
}

impl Process {
    /// Whether a change submits the record to this process. `Err` says which expression failed and why: it is never "no"
    /// (DESIGN 2.2).
    pub fn is_triggered_by(&self, kind: ChangeKind, data: &Json, now: Timestamp) -> Result<bool, String> {
        let Some(trigger) = self.trigger.as_ref().filter(|trigger| trigger.on.contains(&kind)) else {
            return Ok(false);
        };
        let Some(when) = &trigger.when else { return Ok(true) };
        let mut variables = Variables::new();
        variables.set("record", Value::from_json(data, &self.record.expression_type));
        variables.set("now", Value::Timestamp(now));
        when.eval_bool(&variables).map_err(|error| format!("expression `{}` failed: {error}", when.source()))
    }
}
