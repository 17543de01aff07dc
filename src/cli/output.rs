//! The forms of an answer: tables for people, JSON and YAML for programs.

use std::{io::Write, sync::LazyLock};

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::{
    cli::{Failure, Screen, data::from_double},
    client::Client,
    proto::{self, v1::SubmissionStatus},
};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Json,
    Yaml,
    // Aligned columns, for people. (Not a doc comment: help would spend three lines on each.)
    Table,
}

/// What a command works with: the server, and where and how to write.
pub(crate) struct Session<'s, 'w> {
    pub(crate) client: Client,
    pub(crate) format: Format,
    pub(crate) screen: &'s mut Screen<'w>,
}

impl Session<'_, '_> {
    /// Writes one message: by `table` where people read.
    pub(crate) fn print<T: Message + Name>(
        &mut self,
        message: &T,
        table: impl FnOnce(&T, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        if self.format == Format::Table {
            return Ok(table(message, self.screen.out)?);
        }
        self.print_value(&to_json(message)?)
    }

    /// Writes several messages: as one list where programs read.
    pub(crate) fn print_all<T: Message + Name>(
        &mut self,
        messages: &[T],
        table: impl FnOnce(&[T], &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        if self.format == Format::Table {
            return Ok(table(messages, self.screen.out)?);
        }
        let values = messages.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
        self.print_value(&Value::Array(values))
    }

    /// Writes a value as JSON or YAML (a table is the caller's affair).
    pub(crate) fn print_value(&mut self, value: &Value) -> Result<(), Failure> {
        print_value(self.format, value, self.screen.out)
    }

    /// Writes one of a stream of messages: a line of JSON, or a YAML document of its own.
    pub(crate) fn print_streamed<T: Message + Name>(&mut self, message: &T) -> Result<(), Failure> {
        let value = to_json(message)?;
        if self.format == Format::Json {
            writeln!(self.screen.out, "{value}")?;
        } else {
            writeln!(self.screen.out, "---")?;
            self.print_value(&value)?;
        }
        Ok(self.screen.out.flush()?)
    }

    /// Writes a line to people: part of the answer of a table, and nothing for programs.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        if self.format == Format::Table {
            writeln!(self.screen.out, "{text}")?;
            self.screen.out.flush()?;
        }
        Ok(())
    }

    /// Writes a note to standard error, where it disturbs no program that reads the answer.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.screen.err, "{text}")?)
    }
}

/// Writes a value as JSON, or as YAML.
pub(crate) fn print_value(format: Format, value: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Yaml {
        let text = serde_saphyr::to_string(value).map_err(|error| Failure::Failed(error.to_string()))?;
        return Ok(write!(out, "{text}")?);
    }
    Ok(writeln!(out, "{value:#}")?)
}

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).expect("the build compiled these descriptors"));

/// The proto3 JSON form of a message, with the field names of the .proto files.
pub(crate) fn to_json<T: Message + Name>(message: &T) -> Result<Value, Failure> {
    let name = T::full_name();
    let unknown = || Failure::Failed(format!("{name} is not among the descriptors"));
    let descriptor = POOL.get_message_by_name(&name).ok_or_else(unknown)?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value = dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    write_integers(&mut value);
    Ok(value)
}

/// The API's messages have doubles in a `Struct` only, where integers are doubles too.
fn write_integers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = number.as_f64().map_or(Value::Null, from_double),
        Value::Array(values) => values.iter_mut().for_each(write_integers),
        Value::Object(fields) => fields.values_mut().for_each(write_integers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The name of a status in the words of the documents: without the prefix that protobuf wants.
pub(crate) fn status_name(status: SubmissionStatus) -> &'static str {
    enum_name(status.as_str_name(), "SUBMISSION_STATUS_")
}

/// The name of an enum's value without its prefix.
pub(crate) fn enum_name(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::data::to_struct,
        proto::v1::{Event, Record},
    };

    fn record(data: &Value) -> Record {
        let data = to_struct(data).unwrap();
        Record {
            r#type: "purchase_request".into(),
            id: "PR-1".into(),
            data: Some(data),
            version: 1,
            ..Record::default()
        }
    }

    #[test]
    fn json_has_the_field_names_of_the_proto_files_and_integers_as_integers() {
        let data = serde_json::json!({ "amount": 50.0, "rate": 0.5, "items": [1, { "n": -2 }], "note": null });
        assert_eq!(
            to_json(&record(&data)).unwrap().to_string(),
            r#"{"data":{"amount":50,"items":[1,{"n":-2}],"note":null,"rate":0.5},"id":"PR-1","type":"purchase_request","version":1}"#
        );
        let event = Event { seq: 7, kind: "STEP_STARTED".into(), ..Event::default() };
        assert_eq!(to_json(&event).unwrap().to_string(), r#"{"kind":"STEP_STARTED","seq":"7"}"#);
    }

    #[test]
    fn yaml_says_the_same_as_json() {
        let mut text = Vec::new();
        let value =
            serde_json::json!({ "id": "01", "yes": "true", "amount": 50, "list": ["a: b", null, 0.5], "empty": {} });
        print_value(Format::Yaml, &value, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
    }
}
