//! JSON Schemas of what goes in and comes out.

use jsonschema::{Draft, Validator};
use serde_json::Value;

/// How many faults of a value are told at once.
const FAULTS_MAX: usize = 5;

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema(Validator);

impl Schema {
    /// Compiles it. References go nowhere but into the schema itself.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        jsonschema::options().with_draft(Draft::Draft202012).build(schema).map(Self).map_err(|error| error.to_string())
    }

    /// What is wrong with a value, with the paths of the fields.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .0
            .iter_errors(value)
            .take(FAULTS_MAX)
            .map(|error| match error.instance_path().as_str() {
                "" => error.to_string(),
                path => format!("{path}: {error}"),
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}
