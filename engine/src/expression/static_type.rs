//! Types of expressions, as far as they are known before anything runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What is known of a value before it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything: checked when it is evaluated.
    Dyn,
    /// Only null.
    Null,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// A text.
    String,
    /// Bytes.
    Bytes,
    /// An instant.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of such elements.
    List(Arc<Type>),
    /// A map to such values.
    Map(Arc<Type>),
    /// A JSON object.
    Object {
        /// The types of the declared fields.
        fields: Arc<BTreeMap<String, Type>>,
        /// Whether there may be other fields; those are [`Type::Dyn`].
        open: bool,
    },
}

impl Type {
    /// An object with just these fields.
    pub fn closed_object<const N: usize>(fields: [(&str, Type); N]) -> Self {
        let fields = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
        Self::Object { fields: Arc::new(fields), open: false }
    }

    /// The type of the documents that a JSON Schema admits. Only `type`, `properties`, `items` and
    /// `additionalProperties` say something; all else (references, unions, lists of types) is [`Type::Dyn`]. An object
    /// is open unless it says `additionalProperties: false`.
    pub fn from_json_schema(schema: &serde_json::Value) -> Self {
        match schema.get("type").and_then(serde_json::Value::as_str) {
            Some("null") => Self::Null,
            Some("boolean") => Self::Bool,
            Some("integer") => Self::Int,
            Some("number") => Self::Double,
            Some("string") => Self::String,
            Some("array") => Self::List(Arc::new(schema.get("items").map_or(Self::Dyn, Self::from_json_schema))),
            Some("object") => {
                let properties = schema.get("properties").and_then(serde_json::Value::as_object);
                let fields = properties.map(|properties| {
                    properties.iter().map(|(name, field)| (name.clone(), Self::from_json_schema(field))).collect()
                });
                // A pattern names fields as well, so that `additionalProperties: false` does not close the object.
                let closed = schema.get("additionalProperties") == Some(&serde_json::Value::Bool(false))
                    && schema.get("patternProperties").is_none();
                Self::Object { fields: Arc::new(fields.unwrap_or_default()), open: !closed }
            }
            _ => Self::Dyn,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether `==` can be true for some value of each: null equals nothing else, but may be asked for.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) | (Self::Map(left), Self::Map(right)) => left.is_comparable(right),
            (Self::Dyn | Self::Null, _)
            | (_, Self::Dyn | Self::Null)
            | (Self::Map(_) | Self::Object { .. }, Self::Map(_) | Self::Object { .. }) => true,
            (left, right) => (left.is_number() && right.is_number()) || left == right,
        }
    }

    /// The type of a value which is of one type or the other.
    pub(super) fn join(self, other: &Self) -> Self {
        if self == *other { self } else { Self::Dyn }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List(element) => return write!(f, "list({element})"),
            Self::Map(value) => return write!(f, "map({value})"),
            Self::Object { .. } => "object",
        })
    }
}
