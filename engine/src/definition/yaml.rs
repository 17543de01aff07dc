//! YAML as definitions use it: version 1.2, core schema, without merge keys and tags, within bounds.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{
    Error, Location, MessageFormatter, Options, Spanned, UserMessageFormatter,
    options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy},
};

use super::{
    DEFINITION_BYTES_MAX,
    complaint::{Complaint, Complaints, Place},
    suggest,
};

/// How deep a definition nests. The model itself needs about ten levels, a JSON Schema in it some more; every level
/// costs stack.
pub const DEFINITION_DEPTH_MAX: usize = 48;

/// How many values a definition holds, keys and values alike. What fits into the bytes can be a value every two bytes;
/// this keeps a hostile text from taking a hundred times its size in memory.
pub const DEFINITION_NODES_MAX: usize = 50_000;

/// How many values references (`*name`) may repeat in all. Bombs of references repeat millions.
pub const DEFINITION_REPEATED_MAX: usize = 10_000;

/// Fields that the design has and this version has not: what they are called, to say so.
const FIELDS_TO_COME: &[&str] = &["roles"];

/// Reads a text that holds one document.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Vec<Complaint>> {
    if text.len() > DEFINITION_BYTES_MAX {
        let message = format!("the definition has {} bytes; at most {DEFINITION_BYTES_MAX} are read", text.len());
        return Err(complain(Place::START, "", message));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let error = original(&error);
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let found = Sought::by(error).and_then(|sought| find(text, location, sought));
        let (path, location) = found.unwrap_or((String::new(), location));
        complain(location.into(), &path, message(error))
    })
}

fn complain(at: Place, path: &str, message: String) -> Vec<Complaint> {
    let mut complaints = Complaints::default();
    complaints.error(at, path, message);
    complaints.settle::<()>(None).err().unwrap_or_default()
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEFINITION_DEPTH_MAX,
            flow_nesting_limit: DEFINITION_DEPTH_MAX,
            max_nodes: DEFINITION_NODES_MAX,
            max_events: 3 * DEFINITION_NODES_MAX,
            max_documents: 2,
            max_total_scalar_bytes: 4 * DEFINITION_BYTES_MAX,
            max_recorded_anchor_events: DEFINITION_REPEATED_MAX,
            max_recorded_anchor_bytes: 4 * DEFINITION_BYTES_MAX,
            max_inclusion_depth: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: DEFINITION_REPEATED_MAX,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

/// The error itself, without the reference that led to it.
fn original(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => original(error),
        other => other,
    }
}

fn message(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown_field(field, expected),
        Error::SerdeMissingField { field, .. } => format!("the field `{field}` is missing"),
        Error::SerdeInvalidType { unexpected, expected, .. } => format!("{expected} is needed here, not {unexpected}"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is given twice"),
        Error::MultipleDocuments { .. } => "a definition is one document, and another one begins here".to_owned(),
        Error::NullIntoString { .. } => "a value is needed here".to_owned(),
        Error::InvalidBooleanStrict { .. } => "`true` or `false` is needed here".to_owned(),
        Error::InvalidScalar { ty, .. } if ty.starts_with('f') => "a number is needed here".to_owned(),
        Error::InvalidScalar { ty, .. } if ty.starts_with('u') => "a whole number from 0 is needed here".to_owned(),
        Error::Unexpected { expected, .. } => match *expected {
            "string scalar" => "a text is needed here".to_owned(),
            "sequence start" => "a list is needed here".to_owned(),
            "mapping start" => "an object (`field: value`) is needed here".to_owned(),
            other => format!("{other} is needed here"),
        },
        Error::Eof { .. } => "the definition is empty".to_owned(),
        Error::MergeKeyNotAllowed { .. } => {
            "merge keys (`<<`) are not part of YAML 1.2; write the fields out".to_owned()
        }
        Error::UnknownAnchor { .. } => "nothing is named by this reference".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!(
            "the definition is too large: at most {DEFINITION_NODES_MAX} values, {DEFINITION_DEPTH_MAX} levels deep, \
             and {DEFINITION_REPEATED_MAX} values repeated by reference"
        ),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn unknown_field(field: &str, expected: &[&str]) -> String {
    if FIELDS_TO_COME.contains(&field) {
        return format!("the field `{field}` is not supported yet");
    }
    let known = match expected {
        [] => "there is none here".to_owned(),
        fields => format!("there is {}", fields.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    match suggest::nearest(field, expected.iter().copied()) {
        Some(near) => format!("unknown field `{field}`; did you mean `{near}`?"),
        None => format!("unknown field `{field}`; {known}"),
    }
}

/// What an error is about, and where its location is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sought {
    /// A field, at its name.
    Field,
    /// The value of a field, at the name of the field.
    ValueOfField,
    /// An object, at the name of one of its fields.
    Object,
    /// A value. A list may begin where its first element does, and that where its first field does: the outermost.
    Value,
}

impl Sought {
    /// `None` for a text that is too large, which is not read once more.
    fn by(error: &Error) -> Option<Self> {
        match error {
            Error::SerdeUnknownField { .. } | Error::DuplicateMappingKey { .. } => Some(Self::Field),
            Error::SerdeInvalidType { .. } => Some(Self::ValueOfField),
            Error::SerdeMissingField { .. } => Some(Self::Object),
            Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. } => None,
            _ => Some(Self::Value),
        }
    }
}

/// The path of what an error is about and the place to show, in a text that is YAML but could not be read into what was
/// wanted.
fn find(text: &str, location: Location, sought: Sought) -> Option<(String, Location)> {
    let mut options = options();
    // What is refused for one of these is found all the same: it has a location of its own.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    let tree = serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options).ok()?;
    find_in(&tree, (location.line(), location.column()), sought)
}

fn find_in(tree: &Spanned<Tree>, place: (u64, u64), sought: Sought) -> Option<(String, Location)> {
    let is_at = |location: Location| (location.line(), location.column()) == place;
    if sought == Sought::Value && is_at(tree.referenced) {
        return Some((String::new(), tree.referenced));
    }
    match &tree.value {
        Tree::Leaf => None,
        Tree::List(elements) => elements.iter().enumerate().find_map(|(index, element)| {
            let (inner, location) = find_in(element, place, sought)?;
            Some((join(&format!("[{index}]"), &inner), location))
        }),
        Tree::Object(fields) => fields.iter().find_map(|(name, value)| {
            match sought {
                Sought::Field if is_at(name.referenced) => return Some((name.value.clone(), name.referenced)),
                Sought::ValueOfField if is_at(name.referenced) => return Some((name.value.clone(), value.referenced)),
                Sought::Object if is_at(name.referenced) => return Some((String::new(), tree.referenced)),
                _ => {}
            }
            let (inner, location) = find_in(value, place, sought)?;
            Some((join(&name.value, &inner), location))
        }),
    }
}

/// Any document, reduced to where its values are.
enum Tree {
    Leaf,
    List(Vec<Spanned<Tree>>),
    Object(Vec<(Spanned<String>, Spanned<Tree>)>),
}

fn join(outer: &str, inner: &str) -> String {
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    format!("{outer}{dot}{inner}")
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> de::Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Tree::List(elements))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Tree::Object(fields))
    }
}
