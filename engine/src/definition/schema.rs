//! Bounds on JSON Schemas.
//!
//! A schema that is small to write can be endless to check data against: references multiply, and each pattern is a
//! compiled program. So references stay in the document and never lead back, and what they add up to is bounded.

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;

use crate::Json;

/// How many values a schema holds when each reference is replaced by what it names. It bounds the work for one place in
/// the data.
pub const SCHEMA_NODES_MAX: usize = 10_000;

/// How many regular expressions a schema holds. Each takes up to [`PATTERN_BYTES_MAX`] of memory for as long as the
/// definition is loaded.
pub const SCHEMA_PATTERNS_MAX: usize = 100;

/// How large a compiled regular expression is.
pub const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// How deep a schema nests when each reference is replaced by what it names: every level takes stack, here and where data
/// is checked.
pub const SCHEMA_DEPTH_MAX: usize = 128;

/// The dialects that are read. Older ones resolve references in other ways.
const DIALECTS: [&str; 2] = ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema"];

/// Checks a schema against the bounds; what it says is left to the compiler.
pub(super) fn check_bounds(schema: &Json) -> Result<(), String> {
    if let Some(dialect) = schema.get("$schema") {
        let known = dialect.as_str().is_some_and(|dialect| DIALECTS.contains(&dialect.trim_end_matches('#')));
        if !known {
            return Err(format!("`$schema` is one of {}", DIALECTS.join(" and ")));
        }
    }
    let mut patterns = 0;
    check_words(schema, true, &mut patterns)?;
    let mut extents = Extents { root: schema, known: BTreeMap::new() };
    if extents.of(schema, 0)?.nodes > SCHEMA_NODES_MAX {
        return Err(format!("it is too large: at most {SCHEMA_NODES_MAX} values, references included"));
    }
    Ok(())
}

/// Why the compiler refused a schema.
pub(super) fn refusal(error: &jsonschema::ValidationError<'_>) -> String {
    let reason = match error.kind() {
        ValidationErrorKind::Format { format } if format == "regex" => format!(
            "{} cannot be used as a pattern; write a regular expression without look-around and back references, which \
             compiles to at most {} KiB",
            error.instance(),
            PATTERN_BYTES_MAX / 1024,
        ),
        _ => error.to_string(),
    };
    let path = error.instance_path().to_string();
    if path.is_empty() { reason } else { format!("{reason} (at `{path}`)") }
}

/// Refuses the keywords that would let a reference mean something else than a place in this document.
fn check_words(schema: &Json, is_root: bool, patterns: &mut usize) -> Result<(), String> {
    match schema {
        Json::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$dynamicRef" | "$recursiveRef", Json::String(_)) => {
                        return Err(format!("`{name}` is not supported; use `$ref`"));
                    }
                    ("$id" | "$schema", Json::String(_)) if !is_root => {
                        return Err(format!("`{name}` is allowed only at the top"));
                    }
                    ("pattern", Json::String(_)) => *patterns += 1,
                    ("patternProperties", Json::Object(by_pattern)) => *patterns += by_pattern.len(),
                    _ => {}
                }
                check_words(value, false, patterns)?;
            }
        }
        Json::Array(elements) => {
            for element in elements {
                check_words(element, false, patterns)?;
            }
        }
        _ => {}
    }
    if *patterns > SCHEMA_PATTERNS_MAX {
        return Err(format!("it has too many patterns; use at most {SCHEMA_PATTERNS_MAX}"));
    }
    Ok(())
}

/// What a part of a schema adds up to when each reference is replaced by what it names.
#[derive(Clone, Copy)]
struct Extent {
    nodes: usize,
    levels: usize,
}

struct Extents<'s> {
    root: &'s Json,
    /// By reference; `None` while it is being followed.
    known: BTreeMap<&'s str, Option<Extent>>,
}

impl<'s> Extents<'s> {
    /// The extent of a part that is so many levels down.
    fn of(&mut self, schema: &'s Json, depth: usize) -> Result<Extent, String> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(too_deep());
        }
        let mut extent = Extent { nodes: 1, levels: 1 };
        match schema {
            Json::Object(fields) => {
                for (name, value) in fields {
                    let inner = match (name.as_str(), value) {
                        ("$ref", Json::String(reference)) => self.of_reference(reference, depth + 1)?,
                        _ => self.of(value, depth + 1)?,
                    };
                    extent.add(inner);
                }
            }
            Json::Array(elements) => {
                for element in elements {
                    extent.add(self.of(element, depth + 1)?);
                }
            }
            _ => {}
        }
        Ok(extent)
    }

    fn of_reference(&mut self, reference: &'s str, depth: usize) -> Result<Extent, String> {
        match self.known.get(reference) {
            Some(Some(extent)) if depth + extent.levels > SCHEMA_DEPTH_MAX => return Err(too_deep()),
            Some(Some(extent)) => return Ok(*extent),
            Some(None) => return Err(format!("`$ref: {reference}` leads back to itself")),
            None => {}
        }
        if !reference.starts_with('#') {
            return Err(format!("`$ref: {reference}` leads to another document; use a pointer such as `#/$defs/name`"));
        }
        // Pointers with percent signs may be written in many ways; none is needed for the names of fields.
        let target = reference
            .strip_prefix('#')
            .filter(|pointer| !pointer.contains('%'))
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("`$ref: {reference}` names nothing in it; use a pointer such as `#/$defs/name`"))?;
        self.known.insert(reference, None);
        let extent = self.of(target, depth + 1)?;
        self.known.insert(reference, Some(extent));
        Ok(extent)
    }
}

impl Extent {
    fn add(&mut self, inner: Self) {
        self.nodes = self.nodes.saturating_add(inner.nodes);
        self.levels = self.levels.max(inner.levels + 1);
    }
}

fn too_deep() -> String {
    format!("it is too deep: at most {SCHEMA_DEPTH_MAX} levels, references included")
}
