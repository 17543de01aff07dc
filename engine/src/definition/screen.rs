//! The screens of a screen flow: what a reviewer is shown and asked, one after the other.

use std::collections::BTreeMap;

use super::{Schema, SchemaViolation};
use crate::{Json, expression::Expression};

/// One screen of a screen flow.
#[derive(Clone, Debug)]
pub struct Page {
    /// Unique in its flow.
    pub name: String,
    /// For people.
    pub title: String,
    /// What the reviewer is to do, for people; empty: nothing is said.
    pub description: String,
    /// What the reviewer is shown, in written order.
    pub show: Vec<Shown>,
    /// What the reviewer is asked; `None`: nothing but the decision.
    pub fields: Option<std::sync::Arc<PageFields>>,
}

/// Something that a reviewer is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// For people.
    pub label: String,
    /// What.
    pub value: Expression,
}

/// What a screen asks.
#[derive(Debug)]
pub struct PageFields {
    /// The JSON Schema of the fields as it is written: an object with properties.
    pub schema: Json,
    /// The same, compiled.
    pub compiled: Schema,
    /// What the fields hold before the reviewer has filled in anything, by their names.
    pub prefill: BTreeMap<String, Expression>,
}

impl PageFields {
    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let properties = self.schema.get("properties").and_then(Json::as_object);
        properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str))
    }
}

/// Where what a reviewer filled in does not fit: each field belongs to one screen, and meets its schema. The values are those of
/// all screens, by the names of the fields.
pub fn violations(pages: &[Page], values: &serde_json::Map<String, Json>) -> Vec<SchemaViolation> {
    let fields = || pages.iter().filter_map(|page| page.fields.as_deref());
    let unknown = values.keys().filter(|name| !fields().any(|fields| fields.names().any(|known| known == *name)));
    let unknown = unknown.map(|name| SchemaViolation {
        path: name.clone(),
        message: "no screen of this step has such a field".to_owned(),
    });
    let unfit = fields().flat_map(|fields| {
        let own: serde_json::Map<String, Json> =
            fields.names().filter_map(|name| Some((name.to_owned(), values.get(name)?.clone()))).collect();
        fields.compiled.violations(&Json::Object(own))
    });
    unknown.chain(unfit).take(super::VIOLATIONS_MAX).collect()
}
