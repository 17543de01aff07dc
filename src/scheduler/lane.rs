//! A lane: the task that changes the submissions whose ids hash to it, one batch at a time.
//!
//! Requests queue up while the last commit is under way; then the lane takes all that wait. What it answers, it answers
//! after the commit (DESIGN 4, invariant 2).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    Json,
    command::{Command, Submit},
    context::Context,
    decide::{Decided, decide},
    event::Event,
    evolve,
    id::{SubmissionId, Tenant, UserName},
    projection::{JobRow, Projection, project},
    state::{Submission, VersionRef},
    status::JobStatus,
    trace::TraceParent,
};
use quorate_store::{
    StoreError, log,
    store::{Batch, Heartbeat, History, Loaded, RequestKey, RequestRow, SubmissionCommit, Wanted},
};
use tokio::sync::mpsc;

use crate::clock::RandomIds;

use super::{
    Answer, Ask, Rejection, Shared, Waiting,
    announcer::{Announcer, Committed},
    cache::{Cache, Entry},
    catalog::Snapshot,
    publisher::{Publisher, ToPublish},
};

/// How many requests one commit takes: enough to share a disk flush among, few enough that the first does not wait long.
const BATCH_MAX: usize = 512;

/// How often a batch is decided again because other servers were faster, before its callers are told to come again.
const CONFLICTS_MAX: u32 = 20;

/// How long the jobs of a commit are left to their own publisher before the relay takes them up.
pub(super) const PUBLISH_GRACE: SignedDuration = SignedDuration::from_secs(5);

/// A new submission of a process's active version.
#[derive(Clone, Debug)]
pub struct SubmitAsk {
    /// The process.
    pub process: String,
    /// The type of the record; the process's own when empty.
    pub record_type: String,
    /// The record's id in the user's system.
    pub record_id: String,
    /// The record's data: an object.
    pub data: Arc<Json>,
    /// Who submits it.
    pub submitter: UserName,
    /// Whom they act for.
    pub on_behalf_of: Option<UserName>,
    /// What they say.
    pub comment: String,
    /// Whom they choose to be asked, by the step's name.
    pub choices: BTreeMap<String, Vec<String>>,
    /// The number that the record's own system gives to this state of it.
    pub source_version: Option<u64>,
    /// Whether the submitter is an administrator.
    pub administrator: bool,
    /// The submission that has ended and that this one takes the place of.
    pub before: Option<Answer>,
    /// The trace of the call, where it named one.
    pub traceparent: Option<TraceParent>,
    /// Whether somebody else may have asked for the same submission: else its id is new, and need not be looked up.
    pub may_exist: bool,
}

type Key = (Tenant, SubmissionId);

/// A lane.
pub(super) struct Lane {
    shared: Arc<Shared>,
    publisher: Publisher,
    announcer: Announcer,
    cache: Cache,
}

/// What a batch has come to for one submission so far.
struct Working {
    /// As it is stored; `None`: it does not exist.
    stored: Option<Entry>,
    /// With what this batch decided.
    state: Option<Arc<Submission>>,
    events: Vec<Event>,
    /// Whether `stored` was read in this turn, and not before.
    fresh: bool,
}

/// What a batch has come to.
#[derive(Default)]
struct Turn {
    working: BTreeMap<Key, Working>,
    heartbeats: Vec<Heartbeat>,
    requests: Vec<RequestRow>,
    /// The answers to give after the commit, by the request's place in the batch.
    answers: Vec<(usize, Result<Reply, Rejection>)>,
    /// Requests that a state from the cache refused: to be decided again on the stored state.
    recheck: Vec<usize>,
}

enum Reply {
    State(Answer),
    /// The call was answered before: the answer is this submission at this version.
    Again(Key, u64),
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, publisher: Publisher, announcer: Announcer) -> Self {
        Self { shared, publisher, announcer, cache: Cache::new() }
    }

    /// Runs until every sender is gone and all that waited is answered.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut batch: Vec<_> = batch.drain(..).map(Some).collect();
            let mut parts = vec![(0..batch.len()).collect()];
            while let Some(open) = parts.pop() {
                self.carry_out(&mut batch, open, &mut parts).await;
            }
        }
    }

    /// Carries out these requests of a batch. What is left to do of them afterwards is added to `parts`, the first of it last.
    async fn carry_out(&mut self, batch: &mut [Option<Waiting>], mut open: Vec<usize>, parts: &mut Vec<Vec<usize>>) {
        let mut conflicts = 0;
        while !open.is_empty() {
            match self.turn(batch, &open).await {
                Ok(rest) => open = self.answer(batch, rest).await,
                Err(StoreError::Conflict) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    self.forget(batch, &open);
                }
                // One of them concerns what cannot be read: the others are not to suffer from it.
                Err(StoreError::Internal(reason)) if open.len() > 1 => {
                    tracing::debug!(reason, requests = open.len(), "a batch is carried out in halves");
                    self.forget(batch, &open);
                    let second = open.split_off(open.len() / 2);
                    parts.extend([second, open]);
                    return;
                }
                Err(error) => {
                    let rejection = log_store_error(&error);
                    self.forget(batch, &open);
                    for index in open.drain(..) {
                        reply(batch, index, Err(rejection.clone()));
                    }
                }
            }
        }
    }

    /// Loads, decides and commits what is open. An error leaves all of it open and nothing stored, as far as is known.
    async fn turn(&mut self, batch: &[Option<Waiting>], open: &[usize]) -> Result<Turn, StoreError> {
        let requests = || open.iter().filter_map(|&index| Some((index, batch.get(index)?.as_ref()?)));
        let loaded = self.load(requests().map(|(_, waiting)| waiting)).await?;
        let mut snapshots = BTreeMap::new();
        for (tenant, version) in &loaded.catalog_versions {
            snapshots.insert(tenant.clone(), self.shared.catalog.at_least(tenant, *version).await?);
        }
        let mut turn = Turn::default();
        let answered: BTreeMap<_, _> = loaded.requests.into_iter().map(|row| (row.key.clone(), row)).collect();
        for history in loaded.histories {
            let key = (history.tenant.clone(), history.submission);
            let entry = entry(&history)?;
            turn.working.insert(
                key,
                Working { state: Some(Arc::clone(&entry.state)), stored: Some(entry), events: Vec::new(), fresh: true },
            );
        }
        let now = self.shared.clock.now();
        for (index, waiting) in requests() {
            let answer = match answer_again(waiting, &answered, &turn.requests) {
                Some(answer) => answer,
                None => self.decide(&mut turn, &mut snapshots, waiting, now).await?,
            };
            let key = (waiting.request.tenant.clone(), waiting.request.submission);
            let stale = turn.working.get(&key).is_some_and(|working| !working.fresh);
            if matches!(answer, Err(Rejection::Refused(_))) && stale && self.shared.settings.shared_store {
                turn.recheck.push(index);
            } else {
                turn.answers.push((index, answer));
            }
        }
        self.commit(&mut turn, now).await?;
        Ok(turn)
    }

    async fn load(&mut self, requests: impl Iterator<Item = &Waiting>) -> Result<Loaded, StoreError> {
        let mut wanted = Wanted::default();
        let mut submissions = BTreeSet::new();
        let mut tenants = BTreeSet::new();
        for Waiting { request, .. } in requests {
            let key = (request.tenant.clone(), request.submission);
            let new = matches!(&request.ask, Ask::Submit(ask) if !ask.may_exist);
            if !new && !self.cache.contains(&key) {
                submissions.insert(key);
            }
            tenants.insert(request.tenant.clone());
            wanted.requests.extend(request.key.as_ref().map(|(key, _)| key.clone()));
        }
        wanted.submissions = submissions.into_iter().collect();
        wanted.tenants = tenants.into_iter().collect();
        self.shared.store.load(&wanted).await
    }

    async fn decide(
        &mut self,
        turn: &mut Turn,
        snapshots: &mut BTreeMap<Tenant, Arc<Snapshot>>,
        waiting: &Waiting,
        now: Timestamp,
    ) -> Result<Result<Reply, Rejection>, StoreError> {
        let request = &waiting.request;
        let key = (request.tenant.clone(), request.submission);
        let cache = &mut self.cache;
        let working = turn.working.entry(key.clone()).or_insert_with(|| {
            let stored = cache.get(&key);
            // A submission that is in neither was asked of the store in this turn, and is not there.
            let fresh = stored.is_none();
            Working { state: stored.as_ref().map(|entry| Arc::clone(&entry.state)), stored, events: Vec::new(), fresh }
        });
        let Some(snapshot) = snapshots.get_mut(&request.tenant) else {
            return Err(StoreError::Internal("the store gave no catalog version for a tenant".to_owned()));
        };
        let command = match &request.ask {
            Ask::Command(command) => command.clone(),
            Ask::Submit(ask) => match submit_command(request.tenant.clone(), request.submission, ask, snapshot) {
                Some(command) => command,
                None => return Ok(Err(Rejection::ProcessNotActive(ask.process.clone()))),
            },
        };
        let version = match (&working.state, &command) {
            (Some(state), _) => state.process.clone(),
            (None, Command::Submit(submit)) => submit.process.clone(),
            (None, _) => return Ok(Err(not_found(&command))),
        };
        let Some(process) = self.shared.catalog.process(&request.tenant, &version).await? else {
            let missing = format!("process `{}` version {} is not stored", version.name, version.version);
            return Err(StoreError::Internal(missing));
        };
        if let Some(state) = &working.state {
            for flow in live_flows(state) {
                *snapshot = self.shared.catalog.with_flow(&request.tenant, Arc::clone(snapshot), flow).await?;
            }
        }
        let mut context = Context {
            now,
            process: &process,
            flows: &snapshot.flows,
            calendars: &snapshot.calendars,
            directory: &snapshot.directory,
            ids: &mut RandomIds,
        };
        let Decided { state, events, heartbeat } = match decide(working.state.as_deref(), &command, &mut context) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if let (true, Command::Report(report)) = (heartbeat, &command) {
            turn.heartbeats.push(Heartbeat {
                tenant: request.tenant.clone(),
                submission: request.submission,
                job: report.job,
                attempt: report.attempt,
                at: now,
            });
        }
        working.events.extend(events);
        let state = Arc::new(state);
        working.state = Some(Arc::clone(&state));
        if let Some((key, digest)) = &request.key {
            turn.requests.push(RequestRow {
                key: key.clone(),
                digest: *digest,
                submission: Some(request.submission),
                version: state.version,
                answer: None,
                at: now,
            });
        }
        Ok(Ok(Reply::State(state)))
    }

    /// Stores what the turn decided; then, and only then, the cache, the publisher and the hub learn of it.
    async fn commit(&mut self, turn: &mut Turn, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch {
            requests: turn.requests.clone(),
            heartbeats: std::mem::take(&mut turn.heartbeats),
            publish_grace: PUBLISH_GRACE,
            now: Some(now),
            ..Batch::default()
        };
        let mut stored = Vec::new();
        for (key, working) in &turn.working {
            let Some(state) = &working.state else { continue };
            if working.events.is_empty() {
                continue;
            }
            let (version, head) =
                working.stored.as_ref().map_or((0, log::FIRST_PREVIOUS), |entry| (entry.state.version, entry.head));
            let events = log::seal(key.1, version, head, &working.events);
            let head = events.last().map_or(head, |event| event.hash);
            let projection = Arc::new(project(state));
            let changes = projection.changes_since(working.stored.as_ref().map(|entry| &*entry.projection));
            stored.push((key.clone(), Entry { state: Arc::clone(state), projection, head }));
            batch.submissions.push(SubmissionCommit {
                tenant: key.0.clone(),
                id: key.1,
                expected_version: version,
                events,
                changes,
                announce: self.announcer.announces(&working.events),
            });
        }
        let idle = batch.submissions.is_empty() && batch.requests.is_empty() && batch.heartbeats.is_empty();
        if !idle {
            self.shared.store.commit(&batch).await?;
        }
        self.publisher.hand_over(batch.submissions.iter().flat_map(|commit| to_publish(commit, now)));
        for (key, entry) in stored {
            self.shared.hub.stored(&key.0, &entry.state);
            self.remember(key, entry);
        }
        for (key, working) in std::mem::take(&mut turn.working) {
            if !working.events.is_empty() {
                let (tenant, submission) = key;
                let before = working.stored.map(|entry| entry.state);
                self.announcer.hand_over(Committed { tenant, submission, before, events: working.events });
            } else if let (true, Some(entry)) = (working.fresh, working.stored) {
                self.remember(key, entry);
            }
        }
        Ok(())
    }

    /// A submission that has ended is not asked for much any more: it leaves the cache.
    fn remember(&mut self, key: Key, entry: Entry) {
        if entry.state.status.is_terminal() {
            self.cache.remove(&key);
        } else {
            self.cache.put(key, entry);
        }
    }

    /// Drops what the cache says of these requests' submissions: it was wrong, or may be.
    fn forget(&mut self, batch: &[Option<Waiting>], open: &[usize]) {
        for waiting in open.iter().filter_map(|&index| batch.get(index)?.as_ref()) {
            self.cache.remove(&(waiting.request.tenant.clone(), waiting.request.submission));
        }
    }

    /// Gives the answers of a turn and says what is to be decided again.
    async fn answer(&mut self, batch: &mut [Option<Waiting>], turn: Turn) -> Vec<usize> {
        for (index, answer) in turn.answers {
            let answer = match answer {
                Ok(Reply::State(state)) => Ok(state),
                Ok(Reply::Again(key, version)) => self.state_at(&key, version).await,
                Err(rejection) => Err(rejection),
            };
            reply(batch, index, answer);
        }
        self.forget(batch, &turn.recheck);
        turn.recheck
    }

    /// The submission as it was at a version: the first answer to a call that came again.
    async fn state_at(&self, key: &Key, version: u64) -> Result<Answer, Rejection> {
        let mut events = Vec::new();
        // The store gives a page at a time.
        while let Some(left) = version.checked_sub(events.len() as u64).filter(|left| *left > 0) {
            let limit = u32::try_from(left).unwrap_or(u32::MAX);
            let page = self.shared.store.history(&key.0, key.1, events.len() as u64, limit).await;
            let page = page.map_err(|error| log_store_error(&error))?;
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        let history = History { tenant: key.0.clone(), submission: key.1, events };
        entry(&history).map(|entry| entry.state).map_err(|error| log_store_error(&error))
    }
}

/// The entry that a stored history adds up to.
fn entry(history: &History) -> Result<Entry, StoreError> {
    let unreadable = |reason: String| StoreError::Internal(format!("submission {}: {reason}", history.submission));
    let events: Vec<Event> = history
        .events
        .iter()
        .map(|event| event.to_event().map_err(|error| unreadable(error.to_string())))
        .collect::<Result<_, _>>()?;
    let state = evolve::replay(&events).ok_or_else(|| unreadable("the history does not begin".to_owned()))?;
    let head = history.events.last().map_or(log::FIRST_PREVIOUS, |event| event.hash);
    let projection: Arc<Projection> = Arc::new(project(&state));
    Ok(Entry { state: Arc::new(state), projection, head })
}

/// The answer to a call that was answered before, or by this batch.
fn answer_again(
    waiting: &Waiting,
    answered: &BTreeMap<RequestKey, RequestRow>,
    in_batch: &[RequestRow],
) -> Option<Result<Reply, Rejection>> {
    let (key, digest) = waiting.request.key.as_ref()?;
    let row = answered.get(key).or_else(|| in_batch.iter().find(|row| row.key == *key))?;
    Some(match row.submission {
        Some(submission) if row.digest == *digest => {
            Ok(Reply::Again((waiting.request.tenant.clone(), submission), row.version))
        }
        _ => Err(Rejection::RequestReused),
    })
}

fn submit_command(tenant: Tenant, id: SubmissionId, ask: &SubmitAsk, snapshot: &Snapshot) -> Option<Command> {
    let version = *snapshot.active_processes.get(&ask.process)?;
    Some(Command::Submit(Box::new(Submit {
        tenant,
        id,
        process: VersionRef { name: ask.process.clone(), version },
        record_type: ask.record_type.clone(),
        record_id: ask.record_id.clone(),
        data: Arc::clone(&ask.data),
        submitter: ask.submitter.clone(),
        on_behalf_of: ask.on_behalf_of.clone(),
        comment: ask.comment.clone(),
        choices: ask.choices.clone(),
        source_version: ask.source_version,
        administrator: ask.administrator,
        before: ask.before.clone(),
        traceparent: ask.traceparent.clone(),
    })))
}

fn not_found(command: &Command) -> Rejection {
    use quorate_engine::refusal::Refusal;
    let refusal = match command {
        Command::Decide(_) | Command::SubmitScreen(_) | Command::ReportScreenFailure { .. } => {
            Refusal::WorkItemNotFound
        }
        Command::Report(_) | Command::JobOverdue { .. } => Refusal::JobNotFound,
        _ => Refusal::SubmissionNotFound,
    };
    refusal.into()
}

/// The flow versions that live jobs and steps in progress of a submission are bound to.
pub(super) fn live_flows(state: &Submission) -> impl Iterator<Item = &VersionRef> {
    let of_jobs = state.jobs().filter(|placed| placed.job.is_live()).map(|placed| &placed.job.spec.flow);
    of_jobs.chain(state.screens())
}

/// The jobs of a commit that may go out now.
fn to_publish(commit: &SubmissionCommit, now: Timestamp) -> impl Iterator<Item = ToPublish> {
    let due = move |job: &&JobRow| job.status == JobStatus::Pending && job.available_at <= now;
    commit.changes.jobs.iter().filter(due).map(|job| ToPublish {
        tenant: commit.tenant.clone(),
        submission: commit.id,
        job: job.clone(),
        deliveries: 0,
    })
}

fn reply(batch: &mut [Option<Waiting>], index: usize, answer: Result<Answer, Rejection>) {
    if let Some(waiting) = batch.get_mut(index).and_then(Option::take) {
        // A caller who has gone away does not want the answer.
        let _ = waiting.reply.send(answer);
    }
}

pub(super) fn log_store_error(error: &StoreError) -> Rejection {
    match error {
        StoreError::Conflict | StoreError::Unavailable(_) => {
            tracing::warn!(%error, "a batch was not stored");
            Rejection::Unavailable
        }
        StoreError::Schema(_) | StoreError::Internal(_) => {
            tracing::error!(%error, "a batch was not stored");
            Rejection::Internal
        }
    }
}
