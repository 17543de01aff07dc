//! Definitions as people write them.
//!
//! Every field that exists is here, and no other is accepted. Words (`execution: sync`) and durations are kept as texts:
//! `check` reads them, so that it can complain of all of them at once.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, value::MapAccessDeserializer},
};
use serde_saphyr::Spanned;

use crate::Json;

#[path = "source/screen.rs"]
pub(super) mod screen;
#[path = "source/process_test.rs"]
pub(super) mod test;

/// A text that a complaint may point at.
pub(super) type Text = Spanned<String>;

/// What every definition begins with. Other fields are left to the kind's own type.
#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Text,
    pub(super) kind: Text,
}

/// `kind: ApprovalProcess`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) title: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) summary: Option<Text>,
    pub(super) record: Record,
    #[serde(default, deserialize_with = "given")]
    pub(super) trigger: Option<Spanned<Trigger>>,
    pub(super) stages: Spanned<Vec<Spanned<Stage>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) on_rejection: Option<Spanned<WordOr<GoTo>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) rejection_path: Option<Steps>,
    #[serde(default, deserialize_with = "given")]
    pub(super) recall_path: Option<Steps>,
    #[serde(default, deserialize_with = "given")]
    pub(super) cancel_path: Option<Steps>,
    #[serde(default)]
    pub(super) allow_no_approvals: bool,
    #[serde(default, deserialize_with = "given")]
    pub(super) tests: Option<Spanned<Vec<Spanned<test::Test>>>>,
}

/// What submits a record without being asked to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    pub(super) on: Spanned<Vec<Text>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) when: Option<Text>,
}

/// What a process takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "`type` is a word of Rust")]
pub(super) struct Record {
    #[serde(rename = "type")]
    pub(super) record_type: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) schema: Option<Spanned<Json>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) on_change: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    pub(super) name: Text,
    pub(super) steps: Steps,
    #[serde(default, deserialize_with = "given")]
    pub(super) complete: Option<Spanned<Condition>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) on_error: Option<Text>,
    #[serde(default)]
    pub(super) fault_path: bool,
    #[serde(default, deserialize_with = "given")]
    pub(super) next: Option<Spanned<Vec<Spanned<Rule>>>>,
}

pub(super) type Steps = Spanned<Vec<Spanned<Step>>>;

/// What must hold: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    #[serde(default, deserialize_with = "given")]
    pub(super) when: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) evaluation: Option<Evaluation>,
}

/// An evaluation flow that is asked: what a background step says of its flow, but for who waits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evaluation {
    pub(super) flow: Text,
    #[serde(default)]
    pub(super) input: BTreeMap<String, Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) timeout: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) total_timeout: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) heartbeat: Option<Text>,
    #[serde(default)]
    pub(super) retry: Retry,
}

/// A rule of `next`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default, deserialize_with = "given")]
    pub(super) when: Option<Text>,
    pub(super) to: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) outcome: Option<Text>,
}

/// `{ to: stage }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GoTo {
    pub(super) to: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) start: Option<Spanned<Start>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) approval: Option<Spanned<Approval>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) background: Option<Spanned<Background>>,
}

/// When a step starts: one of the three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    #[serde(default, deserialize_with = "given")]
    pub(super) after: Option<Spanned<Vec<Text>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) when: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) evaluation: Option<Evaluation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "fields are called as definitions call them, and each stands for itself"
)]
pub(super) struct Approval {
    pub(super) assign: Spanned<Vec<Spanned<Assign>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) decision: Option<Spanned<WordOr<Decision>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) complete: Option<Spanned<Condition>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) on_no_approvers: Option<Spanned<WordOr<Fallback>>>,
    #[serde(default)]
    pub(super) distinct_from: Vec<Text>,
    #[serde(default)]
    pub(super) allow_submitter: bool,
    #[serde(default, deserialize_with = "given")]
    pub(super) screen: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) depends_on: Option<Spanned<Vec<Text>>>,
    #[serde(default)]
    pub(super) allow_reviewer_edit: bool,
    #[serde(default, deserialize_with = "given")]
    pub(super) due: Option<Spanned<WordOr<Business>>>,
    #[serde(default)]
    pub(super) allow_reassign: bool,
    #[serde(default, deserialize_with = "given")]
    pub(super) claim: Option<Claim>,
    #[serde(default, deserialize_with = "given")]
    pub(super) send_back: Option<SendBack>,
    #[serde(default, deserialize_with = "given")]
    pub(super) remind: Option<Spanned<Vec<Spanned<Remind>>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) escalate: Option<Spanned<Vec<Spanned<Escalate>>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) expire: Option<Spanned<Expire>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) approve_by_silence: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) calendar: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) reuse_approval: Option<ReuseApproval>,
    #[serde(default)]
    pub(super) lock: bool,
}

/// `{ when_unchanged: [paths] }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReuseApproval {
    pub(super) when_unchanged: Spanned<Vec<Text>>,
}

/// How long in business time: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Business {
    #[serde(default, deserialize_with = "given")]
    pub(super) business: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) business_days: Option<Spanned<u32>>,
}

/// `{ limit: duration }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    pub(super) limit: Text,
}

/// `{ to: [stage, …] }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendBack {
    pub(super) to: Spanned<Vec<Text>>,
}

/// When to remind: one of the first three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remind {
    #[serde(default, deserialize_with = "given")]
    pub(super) after: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) before_due: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) after_due: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) every: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) times: Option<Spanned<u32>>,
}

/// When to ask others, one of the first three, and whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Escalate {
    #[serde(default, deserialize_with = "given")]
    pub(super) after: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) before_due: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) after_due: Option<Spanned<WordOr<Business>>>,
    pub(super) to: Spanned<Vec<Spanned<Assign>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) how: Option<Text>,
}

/// When a step expires, one of the first two, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expire {
    #[serde(default, deserialize_with = "given")]
    pub(super) after: Option<Spanned<WordOr<Business>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) after_due: Option<Spanned<WordOr<Business>>>,
    pub(super) outcome: Text,
}

/// Whom to ask: one of the first seven.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assign {
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) group: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) queue: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) manager_of: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) expression: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) chosen_by_submitter: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) manager_of_assignee: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) levels: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) from: Option<Spanned<Vec<Spanned<UserOrGroup>>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) weight: Option<Spanned<u32>>,
}

/// People: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserOrGroup {
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) group: Option<Text>,
}

/// A decision rule that is more than a word: one of the first five.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    #[serde(default, deserialize_with = "given")]
    pub(super) any: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) all: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) at_least: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) percent: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) weight: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) reject: Option<Spanned<WordOr<AtLeast>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) veto_by: Option<Spanned<Vec<Spanned<UserOrGroup>>>>,
    #[serde(default)]
    pub(super) abstain: bool,
}

/// `{ at_least: n }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtLeast {
    pub(super) at_least: Spanned<u32>,
}

/// `{ fallback: [whom, …] }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fallback {
    pub(super) fallback: Spanned<Vec<Spanned<Assign>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Background {
    pub(super) flow: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) execution: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) sync_timeout: Option<Text>,
    #[serde(default)]
    pub(super) input: BTreeMap<String, Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) timeout: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) total_timeout: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) heartbeat: Option<Text>,
    #[serde(default)]
    pub(super) retry: Retry,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    #[serde(default, deserialize_with = "given")]
    pub(super) max_attempts: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) initial_interval: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) backoff: Option<Spanned<f64>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) max_interval: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) jitter: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) non_retryable: Vec<Text>,
}

/// `kind: Flow`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flow {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) name: Text,
    #[serde(rename = "type")]
    pub(super) purpose: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) input: Option<Spanned<Json>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) output: Option<Spanned<Json>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) task_queue: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) waits: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    pub(super) code: Option<Code>,
    #[serde(default, deserialize_with = "given")]
    pub(super) workflow: Option<Spanned<IgnoredAny>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) screens: Option<Spanned<Vec<Spanned<screen::Screen>>>>,
}

/// `{}`: a worker program serves the flow by its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {}

/// `kind: Calendar`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calendar {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) title: Option<Text>,
    pub(super) time_zone: Text,
    pub(super) hours: Spanned<Week>,
    #[serde(default, deserialize_with = "given")]
    pub(super) holidays: Option<Spanned<Vec<Holiday>>>,
}

/// Opening hours, each such as `09:00-12:30`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Week {
    #[serde(default)]
    pub(super) monday: Vec<Text>,
    #[serde(default)]
    pub(super) tuesday: Vec<Text>,
    #[serde(default)]
    pub(super) wednesday: Vec<Text>,
    #[serde(default)]
    pub(super) thursday: Vec<Text>,
    #[serde(default)]
    pub(super) friday: Vec<Text>,
    #[serde(default)]
    pub(super) saturday: Vec<Text>,
    #[serde(default)]
    pub(super) sunday: Vec<Text>,
}

/// A day on which nobody is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holiday {
    pub(super) date: Text,
    pub(super) name: Text,
}

/// `kind: Directory`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default)]
    pub(super) users: Vec<User>,
    #[serde(default)]
    pub(super) groups: Vec<Team>,
    #[serde(default)]
    pub(super) queues: Vec<Team>,
    #[serde(default)]
    pub(super) delegations: Vec<Delegation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) active: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    pub(super) manager: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) email: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) time_zone: Option<Text>,
}

/// A group or a queue.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Team {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) members: Vec<Text>,
    #[serde(default)]
    pub(super) groups: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delegation {
    #[serde(default, deserialize_with = "given")]
    pub(super) name: Option<Text>,
    pub(super) from: Text,
    pub(super) to: Text,
    pub(super) start: Text,
    pub(super) end: Text,
    #[serde(default, deserialize_with = "given")]
    pub(super) time_zone: Option<Text>,
    #[serde(default)]
    pub(super) processes: Vec<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(super) when: Option<Text>,
    #[serde(default)]
    pub(super) alternates: Vec<Text>,
}

/// A field that may be left out, but not left empty: `when:` with nothing after it is a condition that was forgotten, and
/// must not be read as none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A word, or an object that says more.
pub(super) enum WordOr<T> {
    Word(String),
    Object(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WordOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrVisitor(PhantomData))
    }
}

struct WordOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for WordOrVisitor<T> {
    type Value = WordOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or an object")
    }

    fn visit_str<E>(self, word: &str) -> Result<Self::Value, E> {
        Ok(WordOr::Word(word.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(WordOr::Object)
    }
}
