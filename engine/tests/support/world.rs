//! One submission and what surrounds it: a clock that tests move, ids that are counted, definitions and people. Whatever is
//! asked of the submission here is decided, applied, and checked against every invariant.

use std::{collections::BTreeMap, rc::Rc};

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    command::{Command, Report, ReportOutcome},
    context::{Calendars, Context, Flows, Ids},
    decide::{Decided, decide},
    definition::Process,
    directory::Directory,
    event::{Event, EventKind},
    evolve,
    id::{JobId, SubmissionId, Tenant, Token},
    projection::{Projection, project},
    refusal::Refusal,
    state::Submission,
};
use uuid::Uuid;

use super::invariants::{self, Moment};

pub(crate) struct World {
    pub(crate) process: Process,
    pub(crate) flows: Flows,
    pub(crate) calendars: Calendars,
    pub(crate) directory: Directory,
    pub(crate) now: Timestamp,
    pub(crate) state: Option<Rc<Submission>>,
    /// The token of each attempt that there ever was: a worker may come back with an old one.
    pub(crate) tokens: BTreeMap<(JobId, u32), Token>,
    heard_of: BTreeMap<(JobId, u32), Timestamp>,
    ids: CountedIds,
    events: Vec<Event>,
    replayed: Option<Submission>,
    rows: Option<Projection>,
}

/// What followed from a command, once it is applied.
pub(crate) struct Answer {
    pub(crate) events: Vec<Event>,
}

/// Ids in the order in which they are asked for, and no chance at all: two of these give the same.
#[derive(Clone, Default)]
struct CountedIds {
    given: u128,
}

impl Ids for CountedIds {
    fn uuid(&mut self) -> Uuid {
        self.given += 1;
        Uuid::from_u128(self.given)
    }

    fn secret(&mut self) -> u128 {
        self.given += 1;
        self.given
    }

    fn fraction(&mut self) -> f64 {
        0.0
    }
}

/// Whether a command begins a submission in place of the one that there is.
fn takes_the_place(command: &Command) -> bool {
    matches!(command, Command::Submit(submit) if submit.before.is_some())
}

impl World {
    pub(crate) fn new(process: Process, flows: Flows, directory: Directory) -> Self {
        Self {
            process,
            flows,
            calendars: Calendars::default(),
            directory,
            now: "2026-01-01T00:00:00Z".parse().expect("this is a time"),
            state: None,
            tokens: BTreeMap::new(),
            heard_of: BTreeMap::new(),
            ids: CountedIds::default(),
            events: Vec::new(),
            replayed: None,
            rows: None,
        }
    }

    /// The tenant and the id of the one submission that there is.
    pub(crate) fn identity() -> (Tenant, SubmissionId) {
        (Tenant::from("default"), SubmissionId(Uuid::from_u128(u128::MAX)))
    }

    /// The id of the submission that takes the place of this one.
    pub(crate) fn next_identity(before: SubmissionId) -> SubmissionId {
        SubmissionId(Uuid::from_u128(before.0.as_u128() - 1))
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).expect("tests stay within the times there are");
    }

    /// A report with the token that the attempt was given; a token of no attempt where there was no such attempt.
    pub(crate) fn report(&self, job: JobId, attempt: u32, outcome: ReportOutcome) -> Command {
        let token = self.tokens.get(&(job, attempt)).cloned().unwrap_or_else(Self::foreign_token);
        Command::Report(Report { job, attempt, token, outcome })
    }

    /// A timer's question whether a bound of the attempt has passed.
    pub(crate) fn overdue(&self, job: JobId, attempt: u32) -> Command {
        Command::JobOverdue { job, attempt, heartbeat_at: self.heard_of.get(&(job, attempt)).copied() }
    }

    /// A token that no attempt was given.
    pub(crate) fn foreign_token() -> Token {
        Token::new(Self::identity().1, u128::MAX)
    }

    /// Decides a command, applies what follows, and checks every invariant.
    pub(crate) fn run(&mut self, command: &Command) -> Result<Answer, Refusal> {
        let decided = self.decide_twice(command);
        if decided.is_ok() && takes_the_place(command) {
            self.begin_anew();
        }
        let before = self.state.clone();
        if let (Ok(Decided { heartbeat: true, .. }), Command::Report(report)) = (&decided, command) {
            self.heard_of.insert((report.job, report.attempt), self.now);
        }
        let answer = decided.map(|decided| self.apply(decided));
        if let (Ok(_), Command::Migrate(migrate)) = (&answer, command) {
            self.process = (*migrate.process).clone();
        }
        let moment = Moment {
            process: &self.process,
            directory: &self.directory,
            command,
            now: self.now,
            answer: &answer,
            before: before.as_deref(),
            after: self.state.as_deref(),
        };
        for invariant in invariants::ALL {
            invariant(&moment);
        }
        answer
    }

    fn decide_twice(&mut self, command: &Command) -> Result<Decided, Refusal> {
        let mut ids = self.ids.clone();
        let first = self.decide_with(command, &mut ids);
        let second = self.decide_with(command, &mut self.ids.clone());
        invariants::the_same_command_decides_the_same(&first, &second);
        self.ids = ids;
        first
    }

    fn decide_with(&self, command: &Command, ids: &mut CountedIds) -> Result<Decided, Refusal> {
        let mut context = Context {
            now: self.now,
            process: &self.process,
            flows: &self.flows,
            calendars: &self.calendars,
            directory: &self.directory,
            ids,
        };
        let state = self.state.as_deref().filter(|_| !takes_the_place(command));
        decide(state, command, &mut context)
    }

    /// Another submission takes the place of the one that there was.
    pub(crate) fn begin_anew(&mut self) {
        self.state = None;
        self.events.clear();
        self.replayed = None;
        self.rows = None;
    }

    fn apply(&mut self, decided: Decided) -> Answer {
        let answer = self.follow(decided.events);
        invariants::evolving_the_stored_events_gives_the_state(self.state.as_deref(), &decided.state);
        answer
    }

    /// Takes over what has happened, as it is read back from where it is stored.
    pub(crate) fn follow(&mut self, events: Vec<Event>) -> Answer {
        for event in &events {
            let stored = invariants::an_event_is_read_back_as_it_was_written(event);
            match &mut self.replayed {
                Some(state) => evolve::evolve(state, &stored),
                none => *none = evolve::begin(&stored),
            }
            self.remember_token(&event.kind);
        }
        self.events.extend(events.iter().cloned());
        if let Some(state) = &self.replayed {
            let rows = project(state);
            invariants::the_changes_lead_from_the_old_rows_to_the_new(self.rows.as_ref(), &rows);
            self.rows = Some(rows);
        }
        self.state = self.replayed.clone().map(Rc::new);
        Answer { events }
    }

    /// All that has happened.
    #[allow(dead_code, reason = "only scenarios ask for explanations")]
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Replays the whole history. Dear, so once at the end: each step was compared on the way.
    pub(crate) fn finish(&self) {
        invariants::replaying_the_events_gives_the_state(&self.events, self.state.as_deref());
        if let (Some(state), Some(rows)) = (&self.state, &self.rows) {
            invariants::every_event_and_every_request_is_explained(&self.events, state);
            invariants::projecting_twice_gives_the_same(state, rows);
        }
    }

    fn remember_token(&mut self, kind: &EventKind) {
        let given = match kind {
            EventKind::JobScheduled { job, token, .. } | EventKind::EvaluationScheduled { job, token, .. } => {
                Some(((*job, 1), token))
            }
            EventKind::JobAttemptFailed { job, attempt, next_token, .. } => Some(((*job, attempt + 1), next_token)),
            EventKind::JobRevived { job, attempt, token } => Some(((*job, *attempt), token)),
            _ => None,
        };
        if let Some((attempt, token)) = given {
            self.tokens.insert(attempt, token.clone());
        }
    }
}
