//! A document as it was written: values, each with its place.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value};
use serde_saphyr::{
    Error, Location, MessageFormatter, Spanned, UserMessageFormatter,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

/// How deep a document nests as text: about three levels for each level of tasks, and a schema or a body in the innermost.
const DEPTH_MAX: usize = 96;

/// How many values a document has: one every two bytes at most fit, and each takes some hundred bytes of memory.
const NODES_MAX: usize = 20_000;

/// How many bytes are read: the definition around the workflow has its own bound, which is not larger.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How many complaints are made at once: a reader mends the first few and asks again.
const COMPLAINTS_MAX: usize = 100;

/// Something wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The field that is meant, such as `do[0].create.call`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Complaints as they are collected.
#[derive(Default)]
pub(crate) struct Complaints(Vec<Complaint>);

impl Complaints {
    pub(crate) fn add(&mut self, at: Place, path: &str, message: impl Into<String>) {
        if self.0.len() < COMPLAINTS_MAX {
            let Place { line, column } = at;
            self.0.push(Complaint { line, column, path: path.to_owned(), message: message.into() });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the text.
    pub(crate) fn sorted(mut self) -> Vec<Complaint> {
        self.0.sort_by_key(|complaint| (complaint.line, complaint.column));
        self.0
    }
}

/// A place in a text: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        if location == Location::UNKNOWN {
            Self::START
        } else {
            Self { line: location.line(), column: location.column() }
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Field>),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Where its name stands.
    pub(crate) at: Place,
    pub(crate) value: Node,
}

impl Node {
    /// Reads YAML or JSON.
    pub(crate) fn read(text: &str) -> Result<Self, Complaint> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("the document has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len());
            return Err(Complaint { line: 1, column: 1, path: String::new(), message });
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
                max_nodes: NODES_MAX,
                max_events: 3 * NODES_MAX,
                max_documents: 2,
                max_inclusion_depth: 0,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: NODES_MAX,
                max_replay_stack_depth: 8,
            },
            duplicate_keys: DuplicateKeyPolicy::Error,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options).map(node).map_err(|error| {
            let Place { line, column } = error.location().map_or(Place::START, Place::from);
            let message = match &error {
                Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is given twice"),
                error => UserMessageFormatter.format_message(error).into_owned(),
            };
            Complaint { line, column, path: String::new(), message }
        })
    }

    /// A value that was read before, and has no places.
    pub(crate) fn of(value: Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => Content::Bool(value),
            Value::Number(value) => Content::Number(value),
            Value::String(value) => Content::Text(value),
            Value::Array(elements) => Content::List(elements.into_iter().map(Self::of).collect()),
            Value::Object(fields) => Content::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| Field { name, at: Place::START, value: Self::of(value) })
                    .collect(),
            ),
        };
        Self { at: Place::START, content }
    }

    pub(crate) fn value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(value) => Value::Number(value.clone()),
            Content::Text(value) => Value::String(value.clone()),
            Content::List(elements) => elements.iter().map(Self::value).collect(),
            Content::Object(fields) => Value::Object(
                fields.iter().map(|field| (field.name.clone(), field.value.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// A field of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Object(fields) => fields.iter().find(|field| field.name == name).map(|field| &field.value),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Object(_) => "an object",
        }
    }
}

/// A value as it is read.
enum Raw {
    Leaf(Value),
    List(Vec<Spanned<Raw>>),
    Object(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>) -> Node {
    let at = raw.referenced.into();
    match raw.value {
        Raw::Leaf(value) => Node { at, ..Node::of(value) },
        Raw::List(elements) => Node { at, content: Content::List(elements.into_iter().map(node).collect()) },
        Raw::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Field {
                at: name.referenced.into(),
                name: name.value,
                value: node(value),
            });
            Node { at, content: Content::Object(fields.collect()) }
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Leaf(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Leaf(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("JSON has no such number"))?;
        Ok(Raw::Leaf(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Leaf(value.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Raw::List(elements))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Raw::Object(fields))
    }
}
