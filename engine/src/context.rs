//! What the rules look at besides the submission itself. All of it is given: the engine has no clock, no randomness and
//! nowhere to look things up.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    calendar::Calendar,
    definition::{Flow, Process},
    directory::Directory,
    state::VersionRef,
};

/// The world at the moment of a decision.
pub struct Context<'a> {
    /// The time, to the microsecond.
    pub now: Timestamp,
    /// The process version that the submission is on.
    pub process: &'a Process,
    /// The flows.
    pub flows: &'a Flows,
    /// The calendars.
    pub calendars: &'a Calendars,
    /// The people.
    pub directory: &'a Directory,
    /// Where new ids come from.
    pub ids: &'a mut dyn Ids,
}

/// The calendars of a tenant: the active version of each, by its name.
#[derive(Clone, Debug, Default)]
pub struct Calendars {
    /// The version's number, and the calendar.
    pub active: BTreeMap<String, (u32, Arc<Calendar>)>,
}

/// The flows of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// The active version of each flow.
    pub active: BTreeMap<String, u32>,
    /// Flow versions: all active ones, and those that jobs under way are bound to.
    pub versions: BTreeMap<VersionRef, Arc<Flow>>,
}

impl Flows {
    /// The active version of a flow.
    pub fn active(&self, name: &str) -> Option<(VersionRef, &Arc<Flow>)> {
        let version = VersionRef { name: name.to_owned(), version: *self.active.get(name)? };
        let flow = self.versions.get(&version)?;
        Some((version, flow))
    }
}

/// Where new ids and chance come from.
pub trait Ids {
    /// A new id, never given before.
    fn uuid(&mut self) -> Uuid;
    /// 128 bits that nobody can guess.
    fn secret(&mut self) -> u128;
    /// A number from 0 to 1, for jitter.
    fn fraction(&mut self) -> f64;
}
