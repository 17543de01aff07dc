//! The messages and services of `proto/`, as generated, and their JSON form.

pub mod value;

use std::{io, sync::LazyLock};

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::ser::{CompactFormatter, Formatter};

/// `quorate.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the comments of proto/ carry over where the generator keeps them"
)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The descriptors of `proto/`, encoded: for reflection, and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A message has no JSON form, or a text is not the JSON of the message it should be. Says where, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJson(String);

/// Writes a message as JSON: the proto3 mapping with the field names as written in `proto/` (DESIGN 6).
///
/// Fails only for what JSON cannot say: a `Struct` with a number that is not finite, or one nested beyond what prost
/// decodes (about 30 objects within each other), which no message that came over the wire can hold.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Vec<u8>, InvalidJson> {
    let dynamic = DynamicMessage::decode(descriptor_of::<M>(), message.encode_to_vec().as_slice())
        .map_err(|error| InvalidJson(error.to_string()))?;
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), IntegralNumbers);
    dynamic
        .serialize_with_options(&mut serializer, &SerializeOptions::new().use_proto_field_name(true))
        .map_err(|error| InvalidJson(error.to_string()))?;
    Ok(serializer.into_inner())
}

/// Reads a message from its JSON. Takes field names in both spellings that the proto3 mapping knows, and ignores fields
/// that it does not know: they come from a newer version.
pub fn from_json<M: Message + Name + Default>(json: &[u8]) -> Result<M, InvalidJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor_of::<M>(), &mut deserializer, &options)
        .and_then(|dynamic| deserializer.end().map(|()| dynamic))
        .map_err(|error| InvalidJson(error.to_string()))?;
    dynamic.transcode_to().map_err(|error| InvalidJson(error.to_string()))
}

fn descriptor_of<M: Name>() -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(DESCRIPTORS)
            .expect("build.rs wrote these bytes from descriptors that protox had checked")
    });
    POOL.get_message_by_name(&M::full_name())
        .expect("every generated message stands in the descriptors of the same build")
}

/// Writes `7`, not `7.0`: a number of a `Struct` is a double whatever it was before, and readers in other languages take
/// `7.0` for a value that is no integer.
struct IntegralNumbers;

/// Above 2^53 neighbouring integers share a double, so that printing digits would pretend a precision that is not there.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

impl Formatter for IntegralNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // -0.0 stays as it is: as an integer it would lose its sign.
        if value.fract() == 0.0 && value.abs() < INTEGER_MAX && !(value == 0.0 && value.is_sign_negative()) {
            #[allow(clippy::cast_possible_truncation, reason = "integral and below 2^53: exact")]
            let integer = value as i64;
            CompactFormatter.write_i64(writer, integer)
        } else {
            CompactFormatter.write_f64(writer, value)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use prost_types::{Struct, Value, value::Kind};

    use super::*;
    use crate::proto::v1::{Job, JobReport};

    fn number(value: f64) -> Value {
        Value { kind: Some(Kind::NumberValue(value)) }
    }

    #[test]
    fn json_has_the_names_of_the_contract_and_integral_numbers() {
        let job = Job {
            job: "j".into(),
            attempt: 2,
            flow_version: 3,
            task_queue: "default".into(),
            input: Some(Struct {
                fields: [
                    ("big".to_owned(), number(1e300)),
                    ("half".to_owned(), number(0.5)),
                    ("minus".to_owned(), number(-12.0)),
                    ("seven".to_owned(), number(7.0)),
                ]
                .into(),
            }),
            heartbeat_interval: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            ..Job::default()
        };
        let json = String::from_utf8(to_json(&job).unwrap()).unwrap();
        assert_eq!(
            json,
            r#"{"job":"j","attempt":2,"flow_version":3,"task_queue":"default","input":{"big":1e+300,"half":0.5,"minus":-12,"seven":7},"heartbeat_interval":"10s"}"#
        );
        assert_eq!(from_json::<Job>(json.as_bytes()).unwrap(), job);
    }

    #[test]
    fn unknown_fields_are_ignored_and_trailing_text_is_refused() {
        let report: JobReport = from_json(br#"{"job":"j","status":"STARTED","from_the_future":{"a":[1]}}"#).unwrap();
        assert_eq!((report.job.as_str(), report.status.as_str()), ("j", "STARTED"));
        assert!(from_json::<JobReport>(br#"{"job":"j"} {"#).is_err());
        assert!(from_json::<JobReport>(br#"{"job":7}"#).is_err());
        assert!(from_json::<JobReport>(b"not json").is_err());
    }

    #[test]
    fn thirty_nested_objects_pass_and_a_hundred_are_refused() {
        let nested = |depth: usize| {
            format!(r#"{{"job":"j","output":{}{{}}{}}}"#, r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1))
        };
        let report: JobReport = from_json(nested(30).as_bytes()).unwrap();
        assert_eq!(String::from_utf8(to_json(&report).unwrap()).unwrap(), nested(30));
        assert!(from_json::<JobReport>(nested(100).as_bytes()).is_err());
    }
}
