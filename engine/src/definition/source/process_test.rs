//! Process tests as people write them.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        self,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_saphyr::{Location, Spanned};

use super::{Text, given};
use crate::Json;

/// An element of `tests`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Test {
    pub(in crate::definition) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) now: Option<Text>,
    pub(in crate::definition) submit: Spanned<Submit>,
    #[serde(default)]
    pub(in crate::definition) flows: BTreeMap<String, Spanned<OneOrMany<Mock>>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) script: Option<Spanned<Vec<Spanned<Line>>>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) expect: Option<Spanned<Expect>>,
}

/// What begins a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Submit {
    pub(in crate::definition) by: Text,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) on_behalf_of: Option<Text>,
    pub(in crate::definition) record: Spanned<Json>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) comment: Option<String>,
    #[serde(default)]
    pub(in crate::definition) choices: BTreeMap<String, Vec<Text>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) refused: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) on: Option<Text>,
}

/// How a flow answers: one of the first three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Mock {
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) output: Option<Spanned<Json>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) error: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) silent: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) message: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) retryable: Option<bool>,
}

/// How things stand. What is not mentioned is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Expect {
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) status: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) failure: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) round: Option<u32>,
    #[serde(default)]
    pub(in crate::definition) stages: BTreeMap<String, Text>,
    #[serde(default)]
    pub(in crate::definition) steps: BTreeMap<String, Text>,
    #[serde(default)]
    pub(in crate::definition) work_items: Vec<Spanned<ExpectItem>>,
    #[serde(default)]
    pub(in crate::definition) outputs: BTreeMap<String, Spanned<Json>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) record: Option<Spanned<Json>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct ExpectItem {
    pub(in crate::definition) step: Text,
    pub(in crate::definition) assignee: Text,
    pub(in crate::definition) status: Text,
}

/// The table of what a script can do: the field, what it holds, and its variant.
macro_rules! actions {
    ($($field:ident $name:literal: $kind:ident => $variant:ident,)*) => {
        /// A line of a script: one of its fields.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::definition) struct Line {
            #[serde(default, deserialize_with = "given")]
            pub(in crate::definition) expect: Option<Spanned<Expect>>,
            #[serde(default, deserialize_with = "given")]
            pub(in crate::definition) advance: Option<Text>,
            #[serde(default, deserialize_with = "given")]
            pub(in crate::definition) refused: Option<Spanned<Refused>>,
            $(#[serde(default, deserialize_with = "given")] $field: Option<Spanned<$kind>>,)*
        }

        /// What must be refused, and for which reason.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::definition) struct Refused {
            pub(in crate::definition) reason: Text,
            $(#[serde(default, deserialize_with = "given")] $field: Option<Spanned<$kind>>,)*
        }

        /// Something that is done.
        #[derive(Clone, Copy)]
        pub(in crate::definition) enum Action<'s> {
            $($variant(&'s $kind),)*
        }

        impl Line {
            /// What is done, each with the name of its field and its place.
            pub(in crate::definition) fn actions(&self) -> Vec<(&'static str, Location, Action<'_>)> {
                let mut actions = Vec::new();
                $(actions.extend(self.$field.iter().map(|found| ($name, found.referenced, Action::$variant(&found.value))));)*
                actions
            }
        }

        impl Refused {
            /// What is tried, each with the name of its field and its place.
            pub(in crate::definition) fn actions(&self) -> Vec<(&'static str, Location, Action<'_>)> {
                let mut actions = Vec::new();
                $(actions.extend(self.$field.iter().map(|found| ($name, found.referenced, Action::$variant(&found.value))));)*
                actions
            }
        }

        /// The names of the fields that do something.
        pub(in crate::definition) const ACTIONS: &[&str] = &[$($name,)*];
    };
}

actions! {
    decide "decide": Decide => Decide,
    submit_screen "submit_screen": SubmitScreen => SubmitScreen,
    screen_error "screen_error": Item => ScreenError,
    comment "comment": Comment => Comment,
    update_record "update_record": UpdateRecord => UpdateRecord,
    report_change "report_change": ReportChange => ReportChange,
    recall "recall": By => Recall,
    cancel "cancel": By => Cancel,
    resubmit "resubmit": Resubmit => Resubmit,
    reassign "reassign": Reassign => Reassign,
    claim "claim": Item => Claim,
    release "release": Item => Release,
    r#override "override": Override => Override,
    send_back "send_back": SendBack => SendBack,
    request_information "request_information": RequestInformation => RequestInformation,
    answer_information "answer_information": AnswerInformation => AnswerInformation,
    retry "retry": Retry => Retry,
    skip "skip": Skip => Skip,
    go_to "go_to": GoTo => GoTo,
    suspend "suspend": By => Suspend,
    resume "resume": By => Resume,
}

/// Declares what actions hold: texts that are needed, and texts that may be left out.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident { $($needed:ident),* ; $($optional:ident: $kind:ty),* })*) => {$(
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::definition) struct $name {
            $(pub(in crate::definition) $needed: Text,)*
            $(#[serde(default, deserialize_with = "given")] pub(in crate::definition) $optional: Option<$kind>,)*
        }
    )*};
}

fields! {
    By { ; by: Text, comment: String }
    Comment { by, comment; }
    Decide { step, by, decision; assignee: Text, comment: String }
    SubmitScreen { step, by, decision; assignee: Text, comment: String, values: Spanned<Json> }
    Item { step, by; assignee: Text }
    Reassign { step, by, to; assignee: Text, comment: String }
    Override { step, decision; by: Text, comment: String }
    SendBack { step, by, to; assignee: Text, comment: String }
    RequestInformation { step, by, question; assignee: Text }
    AnswerInformation { step, answer; by: Text, assignee: Text }
    Retry { ; step: Text, stage: Text, by: Text }
    Skip { step; by: Text, outputs: Spanned<Json>, comment: String }
    GoTo { stage; by: Text, comment: String }
    /// All of the record's data.
    UpdateRecord { ; record: Spanned<Json>, by: Text, comment: String }
    /// All of the record's data, as it is where the record lives.
    ReportChange { ; record: Spanned<Json>, by: Text }
    /// The record as it was, where none is given.
    Resubmit { ; record: Spanned<Json>, by: Text, comment: String }
}

/// One, or a list of them.
pub(in crate::definition) enum OneOrMany<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
    }
}
