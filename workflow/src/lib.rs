//! Declarative flows: the CNCF Serverless Workflow DSL 1.0.
//!
//! [`Workflow::read`] reads a document strictly: what this crate does not do is refused with its line and its name, never
//! skipped, and every expression is compiled. [`Workflow::run`] carries it out over [`Effects`], which is all it knows of the
//! world: no socket, no clock and no environment, so that tests need neither network nor time. `docs/flows.md` has the table
//! of every task and property.

#![allow(clippy::single_match_else, reason = "a value beside a complaint reads better as two arms")]

mod effects;
mod event;
mod expression;
mod grpc;
mod http;
mod length;
mod mail;
mod model;
mod node;
mod oauth;
mod problem;
mod read;
mod run;
mod schema;
mod webhook;

pub use effects::{
    Effects, GrpcFailure, GrpcRequest, GrpcStatus, HttpFailure, HttpRequest, HttpResponse, JobEffect, Mail,
    MailFailure, ToldEvent,
};
#[doc(hidden)]
pub use expression::evaluations;
pub use model::{Workflow, document_in};
pub use node::Complaint;
pub use problem::Problem;
pub use run::{Finished, Run};

/// How many bytes a document has as JSON: it travels with every job, whose bound is 256 KiB, and leaves most of that to the input.
pub const DOCUMENT_BYTES_MAX: usize = 48 * 1024;

/// How many tasks a document has: what fits into its bytes, written densely, is not much more.
pub const TASKS_MAX: usize = 500;

/// How deep tasks nest. Every level is a future in a future.
pub const NESTING_MAX: usize = 16;

/// How long an expression is: more is a program, and belongs into one.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// How many tasks a run carries out, those of all iterations and retries: what goes round for ever ends here.
pub const STEPS_MAX: usize = 10_000;

/// How large a value of a run is, in bytes of JSON, about: four times what a job may return, which is 256 KiB.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// How deep a value of a run nests: as deep as what `serde_json` reads by default.
pub const VALUE_DEPTH_MAX: usize = 128;

/// How large the proto file of a `call: grpc` is: in base64, what fits into a document and leaves some room.
pub const PROTO_BYTES_MAX: usize = 32 * 1024;

/// How many people a mail goes to: more is a mailing list, which has an address of its own.
pub const RECIPIENTS_MAX: usize = 50;

/// How large a mail's text and HTML are together: what a value of a run may have.
pub const MAIL_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// How long an address or a subject is: a line of a mail has at most 998 bytes (RFC 5322), and some are taken by encoding.
pub const LINE_BYTES_MAX: usize = 500;

/// How many effects on its submission a run has: what a report may carry.
pub const EFFECTS_MAX: usize = 50;

/// How long a comment is: what the server takes.
pub const COMMENT_BYTES_MAX: usize = 4000;
