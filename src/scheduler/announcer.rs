//! The announcer tells other systems what happened: it hands committed events to the queue, in the order of each submission.
//! The log itself is the outbox: the store keeps up to where the broker has confirmed each submission's events, and the relay reads
//! the rest from the log (DESIGN 6).
//!
//! Every server publishes only what follows directly on what is confirmed, and confirms of one batch are awaited before the
//! next. So whoever else publishes the same at the same time, the first message of each event arrives in order.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use quorate_engine::{
    event::Event,
    evolve::{begin, evolve},
    id::{SubmissionId, Tenant},
    state::Submission,
};
use quorate_store::{
    StoreError,
    store::{History, PublishedEvents, Wanted},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::COUNTED,
    queue::{LifecycleEvent, Published},
};

use super::{Shared, lane::PUBLISH_GRACE, lifecycle, publisher::after};

/// How many commits may wait for the announcer. What finds no room is left to the relay: it is stored.
const WAITING_MAX: usize = 4_096;

/// Of how many commits the events are published before their confirms are awaited.
const BATCH_MAX: usize = 512;

/// How many submissions the relay claims at a time: it loads their histories.
const RELAY_MAX: u32 = 100;

/// For how long the relay claims a submission's events: longer than a publish with its confirms may take.
const RELAY_CLAIM: SignedDuration = SignedDuration::from_secs(60);

/// What the queue may still take to answer when the server stops.
const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

type Key = (Tenant, SubmissionId);

/// Committed events of one submission.
pub(super) struct Committed {
    pub(super) tenant: Tenant,
    pub(super) submission: SubmissionId,
    /// The submission before them; none: they begin it.
    pub(super) before: Option<Arc<Submission>>,
    /// All that follow, of which some are for other systems to know.
    pub(super) events: Vec<Event>,
}

impl Committed {
    /// The number of the last event before these.
    fn after(&self) -> u64 {
        self.before.as_ref().map_or(0, |state| state.version)
    }
}

/// Where lanes and the relay hand events over.
#[derive(Clone)]
pub(super) struct Announcer {
    /// None: nobody is told.
    sender: Option<mpsc::Sender<Committed>>,
}

impl Announcer {
    /// Whether these events are to be in the outbox.
    pub(super) fn announces(&self, events: &[Event]) -> bool {
        self.sender.is_some() && events.iter().any(|event| lifecycle::is_announced(&event.kind))
    }

    /// Hands events over without waiting. Those that find no room stay in the outbox, and the relay takes them up.
    pub(super) fn hand_over(&self, committed: Committed) {
        if let Some(sender) = &self.sender
            && sender.try_send(committed).is_err()
        {
            tracing::debug!("the announcer is full: the relay will publish the events");
        }
    }
}

/// Starts the announcer. It ends when every sender is gone and what it held is done with, or soon after `stop` when the queue
/// does not answer.
pub(super) fn start(shared: Arc<Shared>, stop: CancellationToken) -> (Announcer, JoinHandle<()>) {
    if !shared.settings.announce {
        return (Announcer { sender: None }, tokio::spawn(async {}));
    }
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Announcer { sender: Some(sender) }, tokio::spawn(run(shared, receiver, stop)))
}

async fn run(shared: Arc<Shared>, mut receiver: mpsc::Receiver<Committed>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let committed = std::mem::take(&mut batch);
        if !shared.queue.is_connected() {
            continue;
        }
        let cut_short = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            announced = announce(&shared, committed) => {
                if let Err(error) = announced {
                    tracing::warn!(%error, "events could not be read from or marked in the outbox: the relay will publish them");
                }
            }
            () = cut_short => {}
        }
    }
}

async fn announce(shared: &Shared, committed: Vec<Committed>) -> Result<(), StoreError> {
    let mut waiting: BTreeMap<Key, Vec<Committed>> = BTreeMap::new();
    for part in committed {
        waiting.entry((part.tenant.clone(), part.submission)).or_default().push(part);
    }
    let keys: Vec<Key> = waiting.keys().cloned().collect();
    let mut going = Vec::with_capacity(keys.len());
    let mut messages = Vec::new();
    for confirmed in shared.store.events_in_outbox(&keys).await? {
        let parts = waiting.remove(&(confirmed.tenant.clone(), confirmed.submission)).unwrap_or_default();
        let mut up_to = confirmed.up_to;
        let first = messages.len();
        for part in parts {
            // Something in between is not published: it did not get here, or was not confirmed.
            if part.after() > up_to {
                break;
            }
            up_to = up_to.max(messages_of(&part, up_to, &mut messages));
        }
        if up_to > confirmed.up_to {
            going.push((PublishedEvents { up_to, ..confirmed }, first..messages.len()));
        }
    }
    let sequences: Vec<u64> = messages.iter().map(|message| message.sequence).collect();
    let outcomes = if messages.is_empty() { Ok(Vec::new()) } else { shared.queue.publish_events(messages).await };
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => {
            // Logged by the queue when its state changes; here it would be once a batch.
            tracing::debug!(%error, "events left to the relay");
            return Ok(());
        }
    };
    let confirmed = outcomes.iter().filter(|outcome| matches!(outcome, Published::Confirmed)).count();
    COUNTED.events_published(confirmed as u64);
    let mut marks = Vec::with_capacity(going.len());
    for (mut mark, range) in going {
        let unconfirmed = range.into_iter().find(|&index| match outcomes.get(index) {
            Some(Published::Confirmed) => false,
            Some(Published::Refused(reason)) => {
                tracing::error!(submission = %mark.submission, %reason, "the queue refuses an event: it is passed over");
                false
            }
            Some(Published::Unconfirmed(_)) | None => true,
        });
        if let Some(sequence) = unconfirmed.and_then(|index| sequences.get(index)) {
            mark.up_to = sequence - 1;
        }
        marks.push(mark);
    }
    shared.store.mark_events_published(&marks, after(shared.clock.now(), PUBLISH_GRACE)).await
}

/// Adds the messages of what comes after the event with this number. Answers the number of the last event looked at.
fn messages_of(part: &Committed, confirmed: u64, messages: &mut Vec<LifecycleEvent>) -> u64 {
    let mut state = part.before.as_deref().cloned();
    let mut sequence = part.after();
    for event in &part.events {
        sequence += 1;
        match &mut state {
            Some(state) => evolve(state, event),
            None => state = begin(event),
        }
        if let Some(state) = state.as_ref().filter(|_| sequence > confirmed) {
            messages.extend(lifecycle::message(state, sequence, event));
        }
    }
    sequence
}

/// Hands over again what was not confirmed in time.
pub(super) async fn relay(shared: Arc<Shared>, announcer: Announcer, stop: CancellationToken) {
    let Some(sender) = announcer.sender else { return };
    let tick = shared.settings.tick;
    while stop.run_until_cancelled(tokio::time::sleep(tick)).await.is_some() {
        let room = sender.capacity().min(RELAY_MAX as usize);
        let room = u32::try_from(room).unwrap_or(RELAY_MAX);
        if room == 0 || !shared.queue.is_connected() {
            continue;
        }
        match overdue(&shared, room).await {
            // A full channel: what finds no room is claimed again.
            Ok(overdue) => overdue.into_iter().for_each(|committed| drop(sender.try_send(committed))),
            Err(error) => tracing::warn!(%error, "the relay could not read the events that are due"),
        }
    }
}

async fn overdue(shared: &Shared, limit: u32) -> Result<Vec<Committed>, StoreError> {
    let now = shared.clock.now();
    let claimed = shared.store.claim_events(now, after(now, RELAY_CLAIM), limit).await?;
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let confirmed: BTreeMap<Key, u64> =
        claimed.into_iter().map(|row| ((row.tenant, row.submission), row.up_to)).collect();
    let wanted = Wanted { submissions: confirmed.keys().cloned().collect(), ..Wanted::default() };
    let histories = shared.store.load(&wanted).await?.histories;
    let unconfirmed = |history: History| {
        let key = (history.tenant.clone(), history.submission);
        let confirmed = confirmed.get(&key).copied().unwrap_or_default();
        rest(history, confirmed).inspect_err(|error| {
            tracing::error!(submission = %key.1, %error, "events of a submission cannot be read: they are not published");
        })
    };
    Ok(histories.into_iter().filter_map(|history| unconfirmed(history).ok()).collect())
}

/// What comes in a history after the event with this number.
fn rest(history: History, confirmed: u64) -> Result<Committed, quorate_engine::event::UnreadableEvent> {
    let mut before: Option<Submission> = None;
    let mut events = Vec::new();
    for stored in &history.events {
        let event = stored.to_event()?;
        match (stored.seq <= confirmed, &mut before) {
            (true, Some(state)) => evolve(state, &event),
            (true, None) => before = begin(&event),
            (false, _) => events.push(event),
        }
    }
    Ok(Committed { tenant: history.tenant, submission: history.submission, before: before.map(Arc::new), events })
}
