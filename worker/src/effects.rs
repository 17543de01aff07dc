//! What a flow does to its submission besides returning: collected while it runs, sent with its result.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::{
    FlowError, json,
    proto::{self, JobEffect, job_effect::Effect},
};

/// What the server takes of one result (`jobs.proto`).
const EFFECTS_MAX: usize = 50;

/// How long a comment may be, in bytes: what the server takes of everybody.
const COMMENT_BYTES_MAX: usize = 4_000;

/// How long an event's type may be, in bytes: what the server takes.
const TYPE_BYTES_MAX: usize = 200;

/// How long an event's other attributes may be, in bytes: what the server takes.
const ATTRIBUTE_BYTES_MAX: usize = 500;

/// Something that a flow tells other systems: a `CloudEvent`, whose other attributes the server makes.
///
/// ```
/// use quorate_worker::EmittedEvent;
///
/// let event = EmittedEvent::new("com.example.order.created")
///     .subject("PO-1")
///     .data(serde_json::json!({ "order": "PO-1", "amount": 50 }));
/// # let _ = event;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmittedEvent {
    event_type: String,
    source: String,
    subject: String,
    dataschema: String,
    data: Option<Value>,
}

impl EmittedEvent {
    /// An event of this type: 1 to 200 of `A-Z a-z 0-9 . _ -`, and none of Quorate's own, which begin with `quorate.`.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), ..Self::default() }
    }

    /// Where it happened, as a URI reference; the flow, when it is not said.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// What it is about; the submission, when it is not said.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// The schema that its data follows, as a URI.
    #[must_use]
    pub fn data_schema(mut self, uri: impl Into<String>) -> Self {
        self.dataschema = uri.into();
        self
    }

    /// What there is to say: any JSON.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// What a report holds, for tests that look at it.
    pub(crate) fn of_message(event: proto::EmittedEvent) -> Self {
        Self {
            event_type: event.r#type,
            source: event.source,
            subject: event.subject,
            dataschema: event.dataschema,
            data: event.data.map(json::value_of_proto),
        }
    }

    fn to_message(&self) -> Result<proto::EmittedEvent, FlowError> {
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=TYPE_BYTES_MAX).contains(&self.event_type.len()) && self.event_type.bytes().all(is_type);
        if !fits || self.event_type.starts_with("quorate.") {
            let rule = "has to be 1 to 200 of A-Z a-z 0-9 . _ -, and not to begin with `quorate.`";
            return Err(invalid(format!("the type of an event {rule}")));
        }
        for (name, value) in [("source", &self.source), ("subject", &self.subject), ("dataschema", &self.dataschema)] {
            if value.len() > ATTRIBUTE_BYTES_MAX || value.contains('\0') {
                return Err(invalid(format!("the {name} of an event has to be at most {ATTRIBUTE_BYTES_MAX} bytes")));
            }
        }
        let data = self.data.clone().map(json::message_of).transpose().map_err(|error| invalid(error.of("data")))?;
        Ok(proto::EmittedEvent {
            r#type: self.event_type.clone(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            data,
            dataschema: self.dataschema.clone(),
        })
    }
}

/// The effects of one attempt, shared by the clones of its context.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<Mutex<Vec<JobEffect>>>);

impl Effects {
    pub(crate) fn comment(&self, comment: String) -> Result<(), FlowError> {
        if comment.trim().is_empty() || comment.len() > COMMENT_BYTES_MAX || comment.contains('\0') {
            return Err(invalid(format!("a comment has to have 1 to {COMMENT_BYTES_MAX} bytes")));
        }
        self.add(Effect::Comment(comment))
    }

    pub(crate) fn patch_record(&self, patch: impl Serialize) -> Result<(), FlowError> {
        let patch = serde_json::to_value(patch).map_err(|error| invalid(error.to_string()))?;
        let Value::Object(patch) = patch else { return Err(invalid("a patch of the record is an object")) };
        self.add(Effect::RecordPatch(json::struct_of(patch).map_err(|error| invalid(error.of("record_patch")))?))
    }

    pub(crate) fn emit(&self, event: &EmittedEvent) -> Result<(), FlowError> {
        self.add(Effect::Event(event.to_message()?))
    }

    /// Those collected so far, which are sent now.
    pub(crate) fn take(&self) -> Vec<JobEffect> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, effect: Effect) -> Result<(), FlowError> {
        // A panic while the lock was held leaves the list whole: every change is one call.
        let mut effects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if effects.len() >= EFFECTS_MAX {
            return Err(invalid(format!("a flow has at most {EFFECTS_MAX} effects")));
        }
        effects.push(JobEffect { effect: Some(effect) });
        Ok(())
    }
}

/// The same comes of every attempt.
fn invalid(message: impl Into<String>) -> FlowError {
    FlowError::permanent("EFFECT_INVALID", message)
}
