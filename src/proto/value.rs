//! `google.protobuf.Struct` and JSON: the way in and out of the API for records, inputs and outputs.

use prost_types::{ListValue, Struct, Value, value::Kind};
use quorate_engine::Json;

/// How deep data may be nested: deeper than any record people write. The protobuf library reads some 30 levels, and data
/// goes out again inside other messages.
pub const DEPTH_MAX: usize = 24;

/// Doubles below this are exact integers.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Why data cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadData {
    /// A number that JSON cannot write.
    #[error("{path}: {}", self.problem())]
    NotFinite {
        /// Where in the data.
        path: String,
    },
    /// A text with the character U+0000, which the store cannot keep.
    #[error("{path}: {}", self.problem())]
    Nul {
        /// Where in the data.
        path: String,
    },
    /// Nested too deep.
    #[error("{path}: {}", self.problem())]
    TooDeep {
        /// Where in the data.
        path: String,
    },
}

impl BadData {
    /// Where in the data.
    pub fn path(&self) -> &str {
        match self {
            Self::NotFinite { path } | Self::Nul { path } | Self::TooDeep { path } => path,
        }
    }

    /// What is wrong there.
    pub fn problem(&self) -> String {
        match self {
            Self::NotFinite { .. } => "a number has to be finite".to_owned(),
            Self::Nul { .. } => "a text must not hold the character U+0000".to_owned(),
            Self::TooDeep { .. } => format!("nested deeper than {DEPTH_MAX} levels"),
        }
    }
}

/// The JSON of a message, in its one canonical form: whole numbers as integers, fields sorted.
pub fn to_json(data: &Struct, path: &str) -> Result<Json, BadData> {
    object_to_json(data, path, 0)
}

/// The message of a JSON object; other JSON gives an empty one.
pub fn from_json(json: &Json) -> Struct {
    match json {
        Json::Object(fields) => {
            Struct { fields: fields.iter().map(|(name, value)| (name.clone(), value_from_json(value))).collect() }
        }
        _ => Struct::default(),
    }
}

fn object_to_json(data: &Struct, path: &str, depth: usize) -> Result<Json, BadData> {
    let fields = data.fields.iter().map(|(name, value)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        check_text(name, &path)?;
        Ok((name.clone(), any_to_json(value, &path, depth + 1)?))
    });
    Ok(Json::Object(fields.collect::<Result<_, BadData>>()?))
}

/// The JSON of a message of any kind, in its one canonical form.
pub fn value_to_json(value: &Value, path: &str) -> Result<Json, BadData> {
    any_to_json(value, path, 0)
}

fn any_to_json(value: &Value, path: &str, depth: usize) -> Result<Json, BadData> {
    if depth > DEPTH_MAX {
        return Err(BadData::TooDeep { path: path.to_owned() });
    }
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Ok(Json::Null),
        Some(Kind::BoolValue(value)) => Ok(Json::Bool(*value)),
        Some(Kind::NumberValue(value)) => number_to_json(*value, path),
        Some(Kind::StringValue(text)) => {
            check_text(text, path)?;
            Ok(Json::String(text.clone()))
        }
        Some(Kind::StructValue(data)) => object_to_json(data, path, depth),
        Some(Kind::ListValue(list)) => {
            let elements = list.values.iter().enumerate();
            let elements = elements.map(|(index, value)| any_to_json(value, &format!("{path}[{index}]"), depth + 1));
            Ok(Json::Array(elements.collect::<Result<_, _>>()?))
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the value is whole and below 2^53")]
fn number_to_json(value: f64, path: &str) -> Result<Json, BadData> {
    if value.fract() == 0.0 && value.abs() < EXACT_INTEGER_MAX {
        return Ok(Json::from(value as i64));
    }
    serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| BadData::NotFinite { path: path.to_owned() })
}

fn check_text(text: &str, path: &str) -> Result<(), BadData> {
    if text.contains('\0') { Err(BadData::Nul { path: path.to_owned() }) } else { Ok(()) }
}

/// The message of any JSON.
pub fn value_from_json(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(elements) => Kind::ListValue(ListValue { values: elements.iter().map(value_from_json).collect() }),
        Json::Object(_) => Kind::StructValue(from_json(json)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_comes_back_in_its_canonical_form() {
        let data = json!({"b": [1, 2.5, null, {"c": "d"}], "a": true});
        assert_eq!(to_json(&from_json(&data), "data"), Ok(data));
    }

    #[test]
    fn what_the_store_cannot_keep_is_refused_with_its_place() {
        let nul = from_json(&json!({"a": {"b": ["ok", "no\u{0}"]}}));
        assert_eq!(to_json(&nul, "data"), Err(BadData::Nul { path: "data.a.b[1]".to_owned() }));
        let mut infinite = from_json(&json!({"a": 1}));
        infinite.fields.insert("n".to_owned(), Value { kind: Some(Kind::NumberValue(f64::INFINITY)) });
        assert_eq!(to_json(&infinite, ""), Err(BadData::NotFinite { path: "n".to_owned() }));
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(matches!(to_json(&from_json(&deep), ""), Err(BadData::TooDeep { .. })));
    }
}
