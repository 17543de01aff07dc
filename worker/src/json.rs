//! JSON: of messages, as the queue contract has it, and of inputs and outputs.

use std::{io, sync::LazyLock};

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{
    Map, Value,
    ser::{CompactFormatter, Formatter},
};

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// How deep objects and lists may lie within each other: what the server takes of any data.
pub(crate) const DEPTH_MAX: usize = 24;

/// Above 2^53 neighbouring integers share a double, so that printing digits would pretend a precision that is not there.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// A message as JSON: the proto3 mapping with the field names as written in `proto/`.
pub(crate) fn to_json<M: Message + Name>(message: &M) -> Result<Vec<u8>, String> {
    let dynamic = DynamicMessage::decode(descriptor_of::<M>(), message.encode_to_vec().as_slice())
        .map_err(|error| error.to_string())?;
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), IntegralNumbers);
    dynamic
        .serialize_with_options(&mut serializer, &SerializeOptions::new().use_proto_field_name(true))
        .map_err(|error| error.to_string())?;
    Ok(serializer.into_inner())
}

/// A message from its JSON. Unknown fields come from a newer server, and are ignored. What is wrong is said without quoting
/// the message, because it goes to the log.
pub(crate) fn from_json<M: Message + Name + Default>(json: &[u8]) -> Result<M, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor_of::<M>(), &mut deserializer, &options)
        .and_then(|dynamic| deserializer.end().map(|()| dynamic))
        .map_err(|error| format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column()))?;
    dynamic.transcode_to().map_err(|error| error.to_string())
}

fn descriptor_of<M: Name>() -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(DESCRIPTORS)
            .expect("build.rs wrote these bytes from descriptors that protox had checked")
    });
    POOL.get_message_by_name(&M::full_name())
        .expect("every generated message stands in the descriptors of the same build")
}

/// Writes `7`, not `7.0`: a number of a `Struct` is a double whatever it was before.
struct IntegralNumbers;

impl Formatter for IntegralNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        match as_integer(value) {
            Some(integer) => CompactFormatter.write_i64(writer, integer),
            None => CompactFormatter.write_f64(writer, value),
        }
    }
}

fn as_integer(value: f64) -> Option<i64> {
    // -0.0 stays as it is: as an integer it would lose its sign.
    if value.fract() == 0.0 && value.abs() < INTEGER_MAX && !(value == 0.0 && value.is_sign_negative()) {
        #[allow(clippy::cast_possible_truncation, reason = "integral and below 2^53: exact")]
        return Some(value as i64);
    }
    None
}

/// A flow's input. Integral numbers become integers, so that they fit the integer fields of a handler's type.
pub(crate) fn value_of(input: Struct) -> Value {
    Value::Object(input.fields.into_iter().map(|(name, value)| (name, value_of_proto(value))).collect())
}

/// Any JSON, as [`value_of`] has it.
pub(crate) fn value_of_proto(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => match as_integer(number) {
            Some(integer) => integer.into(),
            None => number.into(),
        },
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(truth)) => truth.into(),
        Some(Kind::StructValue(fields)) => value_of(fields),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value_of_proto).collect(),
    }
}

/// Why data cannot be told to the server, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadData {
    /// From the outside in.
    path: String,
    problem: String,
}

impl BadData {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: String::new(), problem: problem.into() }
    }

    /// Seen from one level further out, where it is this field or element.
    fn within(self, part: &str) -> Self {
        Self { path: format!("{part}{}", self.path), ..self }
    }

    /// For people: the place in what is called so, and what is wrong there.
    pub(crate) fn of(&self, what: &str) -> String {
        format!("{what}{}: {}", self.path, self.problem)
    }
}

/// Fields as a message.
pub(crate) fn struct_of(fields: Map<String, Value>) -> Result<Struct, BadData> {
    struct_within(fields, DEPTH_MAX)
}

/// Any JSON as a message.
pub(crate) fn message_of(value: Value) -> Result<ProtoValue, BadData> {
    proto_of(value, DEPTH_MAX)
}

fn struct_within(fields: Map<String, Value>, depth: usize) -> Result<Struct, BadData> {
    let depth = deeper(depth)?;
    let field = |(name, value): (String, Value)| {
        let read = check(&name).and_then(|()| proto_of(value, depth));
        read.map_err(|error| error.within(&format!(".{name}"))).map(|value| (name, value))
    };
    Ok(Struct { fields: fields.into_iter().map(field).collect::<Result<_, _>>()? })
}

fn proto_of(value: Value, depth: usize) -> Result<ProtoValue, BadData> {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(truth),
        // Only numbers of arbitrary precision, which this build does not have, are no doubles.
        Value::Number(number) => Kind::NumberValue(number.as_f64().ok_or_else(|| BadData::new("is no double"))?),
        Value::String(text) => {
            check(&text)?;
            Kind::StringValue(text)
        }
        Value::Array(values) => {
            let depth = deeper(depth)?;
            let element = |(index, value)| proto_of(value, depth).map_err(|error| error.within(&format!("[{index}]")));
            Kind::ListValue(ListValue {
                values: values.into_iter().enumerate().map(element).collect::<Result<_, _>>()?,
            })
        }
        Value::Object(fields) => Kind::StructValue(struct_within(fields, depth)?),
    };
    Ok(ProtoValue { kind: Some(kind) })
}

fn deeper(depth: usize) -> Result<usize, BadData> {
    depth.checked_sub(1).ok_or_else(|| BadData::new(format!("nested deeper than {DEPTH_MAX} levels")))
}

/// The server's stores cannot keep this character.
fn check(text: &str) -> Result<(), BadData> {
    if text.contains('\0') { Err(BadData::new("a text must not hold the character U+0000")) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::{Job, JobReport};

    #[test]
    fn values_survive_both_ways_and_integers_stay_integers() {
        let value = json!({"a": [1, 2.5, null, {"b": "c", "d": true}], "n": -3, "big": 1e300});
        let output = struct_of(value.as_object().unwrap().clone()).unwrap();
        assert_eq!(value_of(output.clone()), value);
        let report = JobReport { output: Some(output), ..JobReport::default() };
        let written: Value = serde_json::from_slice(&to_json(&report).unwrap()).unwrap();
        assert_eq!(written, json!({"output": value}));
    }

    #[test]
    fn the_deepest_output_that_is_taken_can_be_written_and_read() {
        let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({"a": inner}));
        let output = struct_of(nested(DEPTH_MAX).as_object().unwrap().clone());
        let report = JobReport { output: Some(output.unwrap()), ..JobReport::default() };
        assert_eq!(from_json::<JobReport>(&to_json(&report).unwrap()).unwrap(), report);
        let error = struct_of(nested(DEPTH_MAX + 1).as_object().unwrap().clone()).unwrap_err();
        assert_eq!(error.of("output"), format!("output{}: nested deeper than 24 levels", ".a".repeat(DEPTH_MAX)));
    }

    #[test]
    fn a_text_that_the_server_does_not_take_is_found_where_it_is() {
        let output = json!({"a": ["fine", {"b": "no\u{0}"}]});
        let error = struct_of(output.as_object().unwrap().clone()).unwrap_err();
        assert_eq!(error.of("output"), "output.a[1].b: a text must not hold the character U+0000");
        assert!(message_of(json!({"a\u{0}": 1})).is_err());
    }

    #[test]
    fn a_job_is_read_as_the_contract_writes_it() {
        let job: Job = from_json(
            br#"{"job":"j","attempt":2,"token":"t","kind":"AUTOLAUNCHED","flow":"f","flow_version":3,"task_queue":"default",
            "input":{"n":7},"deadline":"2026-11-22T10:00:00Z","timeout":"1.5s","heartbeat_interval":"10s","new":[]}"#,
        )
        .unwrap();
        assert_eq!((job.attempt, job.flow_version, job.timeout.unwrap().nanos), (2, 3, 500_000_000));
        assert_eq!(value_of(job.input.unwrap()), json!({"n": 7}));
    }
}
