//! The announcer tells other systems what happened: it hands committed events to the queue, in the order of each submission.
//! The log itself is the outbox: the store keeps up to where the broker has confirmed each submission's events, and the relay reads
//! the rest from the log (DESIGN 6).
//!
//! Every server publishes only what follows directly on what is confirmed, one event of a submission after the other. So whoever
//! else publishes the same at the same time, and whatever the broker refuses for now, the first message of each event arrives in
//! order.

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

/// Of how many commits the events are published at a time.
const BATCH_MAX: usize = 512;

/// How many submissions the relay claims at a time: it loads their histories, each of which may have thousands of events.
const RELAY_MAX: u32 = 25;

/// The relay waits while more commits than this wait for the announcer: what it would claim may be among them.
const BACKLOG_MAX: usize = WAITING_MAX / 4;

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

/// What goes out of one submission.
struct Going {
    /// How far it has come.
    mark: PublishedEvents,
    /// How far it will have come when all messages are confirmed: behind the last there may be events of which nobody is told.
    up_to: u64,
    messages: std::vec::IntoIter<LifecycleEvent>,
    /// The number of the event whose confirm is awaited.
    awaited: Option<u64>,
}

impl Going {
    fn next(&mut self) -> Option<LifecycleEvent> {
        let message = self.messages.next()?;
        self.awaited = Some(message.sequence);
        Some(message)
    }

    /// Takes what became of the message whose confirm was awaited.
    fn settle(&mut self, sequence: u64, outcome: &Published) {
        match outcome {
            Published::Confirmed => {
                COUNTED.events_published(1);
                self.mark.up_to = sequence;
            }
            Published::Refused(reason) => {
                tracing::error!(submission = %self.mark.submission, %reason, "the queue refuses an event: it is passed over");
                self.mark.up_to = sequence;
            }
            // The rest has to wait for it.
            Published::Unconfirmed(_) => {
                self.messages = Vec::new().into_iter();
                self.up_to = self.mark.up_to;
            }
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
    for mark in shared.store.events_in_outbox(&keys).await? {
        let mut parts = waiting.remove(&(mark.tenant.clone(), mark.submission)).unwrap_or_default();
        // Lanes and the relay hand over side by side.
        parts.sort_by_key(Committed::after);
        let mut up_to = mark.up_to;
        let mut messages = Vec::new();
        for part in parts {
            // Something in between is not published: it did not get here, or was not confirmed.
            if part.after() > up_to {
                break;
            }
            up_to = up_to.max(messages_of(&part, up_to, &mut messages));
        }
        if up_to > mark.up_to {
            going.push(Going { mark, up_to, messages: messages.into_iter(), awaited: None });
        }
    }
    let marks = publish(shared, going).await;
    shared.store.mark_events_published(&marks, after(shared.clock.now(), PUBLISH_GRACE)).await
}

/// Publishes the next message of every submission, then the one after it, and so on. Answers how far each has come.
async fn publish(shared: &Shared, mut going: Vec<Going>) -> Vec<PublishedEvents> {
    loop {
        let messages: Vec<LifecycleEvent> = going.iter_mut().filter_map(Going::next).collect();
        if messages.is_empty() {
            break;
        }
        let outcomes = shared.queue.publish_events(messages).await.unwrap_or_else(|error| {
            // Logged by the queue when its state changes; here it would be once a batch.
            tracing::debug!(%error, "events left to the relay");
            Vec::new()
        });
        let mut outcomes = outcomes.into_iter();
        for going in &mut going {
            if let Some(sequence) = going.awaited.take() {
                let unsent = || Published::Unconfirmed("was not sent".to_owned());
                going.settle(sequence, &outcomes.next().unwrap_or_else(unsent));
            }
        }
    }
    going.into_iter().map(|going| PublishedEvents { up_to: going.up_to, ..going.mark }).collect()
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
    let mut more = false;
    loop {
        let pause = if more { std::time::Duration::ZERO } else { tick };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let waiting = sender.max_capacity() - sender.capacity();
        if waiting > BACKLOG_MAX || !shared.queue.is_connected() {
            more = false;
            continue;
        }
        match overdue(&shared, RELAY_MAX).await {
            // A full channel: what finds no room is claimed again.
            Ok(overdue) => {
                more = overdue.len() == RELAY_MAX as usize;
                for committed in overdue {
                    drop(sender.try_send(committed));
                }
            }
            Err(error) => {
                more = false;
                tracing::warn!(%error, "the relay could not read the events that are due");
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn going(sequences: &[u64], up_to: u64) -> Going {
        let message = |&sequence: &u64| LifecycleEvent {
            routing_key: "submission.commented".to_owned(),
            id: sequence.to_string(),
            sequence,
            body: serde_json::Value::Null,
        };
        let messages: Vec<_> = sequences.iter().map(message).collect();
        let submission = SubmissionId(uuid::Uuid::from_u128(1));
        let mark = PublishedEvents { tenant: Tenant::from("default"), submission, up_to: 3 };
        Going { mark, up_to, messages: messages.into_iter(), awaited: None }
    }

    /// Sends one after the other as long as there are any. Answers what was sent, and how far it has come.
    fn send(mut going: Going, outcome: impl Fn(u64) -> Published) -> (Vec<u64>, u64) {
        let mut sent = Vec::new();
        while let Some(message) = going.next() {
            sent.push(message.sequence);
            let sequence = going.awaited.take().unwrap();
            going.settle(sequence, &outcome(sequence));
        }
        (sent, going.up_to)
    }

    #[test]
    fn when_all_is_confirmed_what_nobody_is_told_of_is_done_with_too() {
        assert_eq!(send(going(&[4, 6, 7], 9), |_| Published::Confirmed), (vec![4, 6, 7], 9));
    }

    #[test]
    fn nothing_goes_out_after_an_event_that_the_broker_did_not_take() {
        let not_six = |sequence| match sequence {
            6 => Published::Unconfirmed("a queue is full".to_owned()),
            _ => Published::Confirmed,
        };
        assert_eq!(send(going(&[4, 6, 7], 9), not_six), (vec![4, 6], 4));
    }

    #[test]
    fn an_event_that_no_queue_will_ever_take_is_passed_over() {
        let never_six = |sequence| match sequence {
            6 => Published::Refused("is too large".to_owned()),
            _ => Published::Confirmed,
        };
        assert_eq!(send(going(&[4, 6, 7], 9), never_six), (vec![4, 6, 7], 9));
    }
}
