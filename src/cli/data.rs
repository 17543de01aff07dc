//! JSON that the caller gives: as an argument, in a file, or on standard input.

use std::{
    fs,
    io::{self, Read},
};

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{Map, Value};

use crate::cli::Failure;

/// The bound of a record at the server; reading more would only be refused there.
const DATA_BYTES_MAX: u64 = 256 * 1024;
/// The largest integer that a `Struct`, which holds doubles, tells from its neighbours.
const INTEGER_MAX: u64 = 1 << 53;

/// Reads an object from `-` (standard input), from the argument itself where it begins with `{`, or else from the file
/// that it names.
pub(crate) fn read_object(option: &str, argument: &str) -> Result<Struct, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("{option} {argument}: {error}"));
    let text = if argument.trim_start().starts_with('{') {
        argument.to_owned()
    } else if argument == "-" {
        read_bounded(io::stdin().lock()).map_err(unreadable)?
    } else {
        read_bounded(fs::File::open(argument).map_err(unreadable)?).map_err(unreadable)?
    };
    let value =
        serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{option}: this is not JSON: {error}")))?;
    to_struct(&value).map_err(|complaint| Failure::Usage(format!("{option}: {complaint}")))
}

fn read_bounded(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(DATA_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > DATA_BYTES_MAX {
        return Err(io::Error::other(format!("more than {} KiB", DATA_BYTES_MAX / 1024)));
    }
    Ok(text)
}

/// Converts an object. Refuses integers that would become other integers on the way.
pub(crate) fn to_struct(value: &Value) -> Result<Struct, String> {
    match value {
        Value::Object(fields) => to_fields(fields),
        _ => Err("this is JSON, but not an object".to_owned()),
    }
}

fn to_fields(fields: &Map<String, Value>) -> Result<Struct, String> {
    let fields = fields.iter().map(|(name, value)| {
        let value = to_value(value).map_err(|complaint| format!("{name}: {complaint}"))?;
        Ok((name.clone(), value))
    });
    Ok(Struct { fields: fields.collect::<Result<_, String>>()? })
}

fn to_value(value: &Value) -> Result<ProtoValue, String> {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_some_and(|magnitude| magnitude > INTEGER_MAX) {
                return Err(format!("{number} is beyond 2^53 and would be rounded; write it as a text"));
            }
            Kind::NumberValue(number.as_f64().ok_or_else(|| format!("{number} is not a double"))?)
        }
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_value).collect::<Result<_, _>>()? })
        }
        Value::Object(fields) => Kind::StructValue(to_fields(fields)?),
    };
    Ok(ProtoValue { kind: Some(kind) })
}

/// Converts back: for people, who want to see what was submitted.
pub(crate) fn to_object(object: &Struct) -> Value {
    Value::Object(object.fields.iter().map(|(name, value)| (name.clone(), from_value(value))).collect())
}

fn from_value(value: &ProtoValue) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Bool(*truth),
        Some(Kind::NumberValue(double)) => from_double(*double),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(from_value).collect()),
        Some(Kind::StructValue(fields)) => to_object(fields),
    }
}

/// A `Struct` knows doubles only. Who submitted `{"amount": 50}` wants to see 50, not 50.0.
pub(crate) fn from_double(double: f64) -> Value {
    /// Beyond 2^53 a double no longer tells one integer from the next, so there it stays as it is.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if double.fract() == 0.0 && double.abs() < EXACT_MAX {
        #[allow(clippy::cast_possible_truncation, reason = "it has no fraction, and is less than 2^53")]
        let integer = double as i64;
        return integer.into();
    }
    double.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_given_as_it_is_or_by_the_name_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record.json");
        fs::write(&file, r#"{"amount": 50}"#).unwrap();
        let from_file = read_object("--data", file.to_str().unwrap()).unwrap();
        assert_eq!(from_file, read_object("--data", r#" {"amount": 50.0}"#).unwrap());
        for wrong in ["[1]", "{", "/no/such/file"] {
            assert_eq!(read_object("--data", wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn an_integer_that_a_double_cannot_hold_is_refused_with_its_place() {
        let complaint =
            to_struct(&serde_json::json!({ "order": { "number": 9_007_199_254_740_993_u64 } })).unwrap_err();
        assert!(complaint.starts_with("order: number: 9007199254740993 is beyond 2^53"), "{complaint}");
        assert!(to_struct(&serde_json::json!({ "n": -9_007_199_254_740_992_i64 })).is_ok());
    }
}
