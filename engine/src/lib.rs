//! The rules of Quorate.
//!
//! Everything here is a function of its arguments: [`decide`](decide::decide) takes the state of one submission, a
//! [`Command`](command::Command) and a [`Context`](context::Context) (the time, fresh ids, the definitions and the
//! directory) and answers with the events that follow or with a [`Refusal`](refusal::Refusal). [`evolve`](evolve::evolve)
//! applies an event to the state, and [`project`](projection::project) says what the tables show of a state. No I/O, no
//! clock, no randomness, no hash order: the same arguments give the same answer on every machine.

pub mod calendar;
pub mod command;
pub mod context;
pub mod decide;
pub mod decision_rule;
pub mod definition;
pub mod delegation;
pub mod directory;
pub mod event;
pub mod evolve;
pub mod explain;
pub mod expression;
pub mod id;
pub mod preview;
pub mod process_test;
pub mod projection;
pub mod refusal;
pub mod state;
pub mod status;
pub mod timer;
pub mod trace;
pub mod trigger;

/// JSON as the engine keeps it: objects sorted by key.
pub type Json = serde_json::Value;
