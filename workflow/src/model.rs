//! A workflow as it runs: read, checked, its expressions compiled.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Complaint,
    event::EventTemplate,
    expression::{Expression, Template},
    grpc::GrpcCall,
    http::HttpCall,
    mail::MailCall,
    node::{Complaints, Node},
    read,
    schema::Schema,
    webhook::WebhookCall,
};

/// A checked document.
#[derive(Debug)]
pub struct Workflow {
    pub(crate) definition: Value,
    pub(crate) input: Transformation,
    pub(crate) output: Transformation,
    pub(crate) timeout: Option<Length>,
    pub(crate) secrets: Vec<String>,
    pub(crate) tasks: Vec<Task>,
    /// How deep its tasks nest, those of the workflows that it runs among them.
    pub(crate) depth: usize,
}

/// What names a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A workflow that is run by a task.
#[derive(Debug)]
pub(crate) struct RunWorkflow {
    pub(crate) workflow: Arc<Workflow>,
    /// The task's own input where it is not said.
    pub(crate) input: Option<Template>,
}

/// The document in a field of a definition that was checked before, as it goes with a job.
pub fn document_in(text: &str, field: &str) -> Result<Value, Complaint> {
    let whole = Node::read(text)?;
    Ok(whole.get(field).map(Node::value).unwrap_or_default())
}

impl Workflow {
    /// Reads YAML or JSON that is the document, or holds it as this field. Lines are those of the text.
    pub fn read(text: &str, field: Option<&str>) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Complaints::default();
        let whole = Node::read(text).map_err(|complaint| vec![complaint])?;
        let (node, path) = match field {
            None => (&whole, ""),
            Some(field) => match whole.get(field) {
                Some(node) => (node, field),
                None => {
                    complaints.add(whole.at, field, format!("the field `{field}` is missing"));
                    return Err(complaints.sorted());
                }
            },
        };
        read::workflow(node, path)
    }

    /// Reads a document that was checked before, as it comes with a job.
    pub fn from_json(document: Value) -> Result<Self, Vec<Complaint>> {
        read::workflow(&Node::of(document), "")
    }

    /// The document.
    pub fn definition(&self) -> &Value {
        &self.definition
    }
}

/// What happens to data on its way in or out, or into the context: `from` or `as`, and `schema`.
#[derive(Debug, Default)]
pub(crate) struct Transformation {
    pub(crate) schema: Option<Schema>,
    pub(crate) data: Option<Template>,
}

/// A length of time, or what gives one.
#[derive(Debug, Clone)]
pub(crate) enum Length {
    Fixed(Duration),
    Expression(Expression),
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// Where it is in the document, as a JSON pointer.
    pub(crate) pointer: String,
    /// As it is written.
    pub(crate) definition: Value,
    pub(crate) condition: Option<Expression>,
    pub(crate) input: Transformation,
    pub(crate) output: Transformation,
    pub(crate) export: Transformation,
    pub(crate) timeout: Option<Length>,
    pub(crate) then: Then,
    pub(crate) action: Action,
}

/// Where a list of tasks goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Continue,
    /// Leaves the list.
    Exit,
    /// Ends the workflow.
    End,
    /// Goes to a task of the same list, by its index.
    Task(usize),
}

#[derive(Debug)]
pub(crate) enum Action {
    Do(Vec<Task>),
    Set(Template),
    Switch(Vec<Case>),
    For(Box<For>),
    Fork { branches: Vec<Task>, compete: bool },
    Try(Box<Try>),
    Raise(ErrorTemplate),
    Wait(Length),
    Http(Box<HttpCall>),
    Grpc(Box<GrpcCall>),
    Mail(Box<MailCall>),
    Webhook(Box<WebhookCall>),
    Comment(Template),
    UpdateRecord(Template),
    Emit(Box<EventTemplate>),
    Run(Box<RunWorkflow>),
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: Option<Expression>,
    pub(crate) then: Then,
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) each: String,
    pub(crate) at: String,
    pub(crate) list: Expression,
    pub(crate) condition: Option<Expression>,
    pub(crate) tasks: Vec<Task>,
}

#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) tasks: Vec<Task>,
    /// The properties of the errors that are caught.
    pub(crate) errors: Vec<(String, Template)>,
    pub(crate) name: String,
    pub(crate) when: Option<Expression>,
    pub(crate) except_when: Option<Expression>,
    pub(crate) retry: Option<Retry>,
    pub(crate) handler: Option<Vec<Task>>,
}

#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) when: Option<Expression>,
    pub(crate) except_when: Option<Expression>,
    pub(crate) delay: Duration,
    pub(crate) backoff: Backoff,
    /// How often it is tried again.
    pub(crate) count: Option<u64>,
    /// How long one attempt takes.
    pub(crate) attempt: Option<Duration>,
    /// How long all of them take.
    pub(crate) duration: Option<Duration>,
    pub(crate) jitter: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Backoff {
    Constant,
    Linear,
    Exponential,
}

#[derive(Debug)]
pub(crate) struct ErrorTemplate {
    pub(crate) kind: Template,
    pub(crate) status: u16,
    pub(crate) title: Option<Template>,
    pub(crate) detail: Option<Template>,
    pub(crate) instance: Option<String>,
}
