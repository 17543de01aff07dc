//! What other systems are told: every event, in the order of each submission, whatever is lost on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use futures::{StreamExt, stream};
use lapin::{
    Channel,
    options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use quorate::{
    TENANT,
    proto::v1::{SubmissionServiceCommentRequest, SubmissionStatus, Verdict},
};
use quorate_engine::id::Tenant;
use serde_json::{Value, json};

use crate::{
    audit::{kinds, verified_history},
    backend::Backend,
    caller::{CALLS_AT_ONCE, Caller, decision, submit},
    program::{Program, printed},
    queue_support::{Wire, until},
    system::{Server, System},
};

/// What nobody is told of: how jobs go, and what only the engine needs.
const NOT_TOLD: [&str; 12] = [
    "ASSIGNEES_LEFT_OUT",
    "DEADLINES_SET",
    "EVALUATION_COMPLETED",
    "EVALUATION_SCHEDULED",
    "JOB_ATTEMPT_FAILED",
    "JOB_CANCELED",
    "JOB_COMPLETED",
    "JOB_FAILED",
    "JOB_REVIVED",
    "JOB_SCHEDULED",
    "JOB_STARTED",
    "RECORD_LOCKED",
];

/// A trace that a caller is part of.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const ASK: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: ask
record: { type: note }
stages: [{ name: review, steps: [{ name: bob, approval: { assign: [{ user: bob }] } }] }]
";

/// A queue of one's own, bound to all events. It leaves with its test's connection.
struct Subscriber {
    channel: Channel,
    queue: String,
    /// The sequences that came first, in the order in which they did, by submission.
    heard: BTreeMap<String, Vec<u64>>,
    messages: Vec<(String, Value)>,
}

impl Subscriber {
    async fn new(system: &System) -> Self {
        let corner = system.backend.broker().corner();
        let channel = corner.another_channel().await;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
        let queue = queue.name().to_string();
        let exchange = corner.names.events_exchange();
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.as_str().into(), exchange.into(), "#".into(), options, arguments).await.unwrap();
        Self { channel, queue, heard: BTreeMap::new(), messages: Vec::new() }
    }

    /// Takes in what has come.
    async fn listen(&mut self) {
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(self.queue.as_str().into(), options).await.unwrap() {
            let body: Value = serde_json::from_slice(&message.delivery.data).unwrap();
            let content_type = message.properties.content_type().as_ref().unwrap().to_string();
            assert_eq!(content_type, "application/cloudevents+json; charset=UTF-8");
            let key = message.delivery.routing_key.to_string();
            assert_eq!(body["type"], format!("quorate.{key}"));
            let sequence: u64 = body["sequence"].as_str().unwrap().parse().unwrap();
            let submission = body["subject"].as_str().unwrap().to_owned();
            assert_eq!(body["id"], format!("{submission}/{sequence}"));
            let heard = self.heard.entry(submission).or_default();
            if !heard.contains(&sequence) {
                heard.push(sequence);
            }
            self.messages.push((key, body));
        }
    }

    async fn listen_until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let this = tokio::sync::Mutex::new(self);
        until(what, || async {
            let mut this = this.lock().await;
            this.listen().await;
            enough(&this).then_some(())
        })
        .await;
    }

    /// Waits until all is told that the histories of these submissions hold, and checks that it came in order.
    async fn has_heard_all_of(&mut self, system: &System, submissions: &[String]) {
        let mut expected = BTreeMap::new();
        for id in submissions {
            let events = verified_history(&system.store, id).await;
            let told = (1..).zip(kinds(&events)).filter(|(_, kind)| !NOT_TOLD.contains(&kind.as_str()));
            expected.insert(id.clone(), told.map(|(sequence, _)| sequence).collect::<Vec<u64>>());
        }
        let count = |heard: &BTreeMap<String, Vec<u64>>| heard.values().map(Vec::len).sum::<usize>();
        let wanted = count(&expected);
        self.listen_until("all events", |this| count(&this.heard) >= wanted).await;
        assert_eq!(self.heard, expected);
        until("an empty outbox", || async { in_outbox(system, submissions).await.is_empty().then_some(()) }).await;
    }

    fn keys_of(&self, submission: &str) -> Vec<&str> {
        self.messages.iter().filter(|(_, body)| body["subject"] == submission).map(|(key, _)| key.as_str()).collect()
    }
}

/// The submissions of which something is still to be told.
async fn in_outbox(system: &System, submissions: &[String]) -> BTreeSet<String> {
    let keys: Vec<_> = submissions.iter().map(|id| (Tenant::from(TENANT), id.parse().unwrap())).collect();
    let rows = system.store.events_in_outbox(&keys).await.unwrap();
    rows.iter().map(|row| row.submission.to_string()).collect()
}

async fn comment(by: &Caller, submission: &str, comment: &str) {
    let (id, comment) = (submission.to_owned(), comment.to_owned());
    let request = SubmissionServiceCommentRequest { id, comment, ..SubmissionServiceCommentRequest::default() };
    by.submissions().comment(request).await.unwrap();
}

/// A system without workers, where `ask` can be submitted.
async fn where_bob_is_asked(backend: Backend) -> System {
    let system = System::start_without_worker(backend).await;
    system.caller("admin").publish_process(ASK).await;
    system
}

async fn submit_many(callers: &[Caller], round: usize, count: usize) -> Vec<String> {
    stream::iter(0..count)
        .map(|n| {
            let ann = &callers[n % callers.len()];
            let request = submit("two-jobs", &format!("{round}-{n}"), &json!({ "n": n }));
            async move { ann.try_submit(request).await.unwrap().id }
        })
        .buffered(CALLS_AT_ONCE)
        .collect()
        .await
}

async fn approve_all(callers: &[Caller], submissions: &[String]) {
    stream::iter(submissions.iter().enumerate())
        .for_each_concurrent(CALLS_AT_ONCE, |(n, id)| {
            let bob = &callers[n % callers.len()];
            async move {
                let item = bob.item_of(id).await;
                bob.decide(decision(&item, Verdict::Approve, "", &format!("d-{n}"))).await.unwrap();
                bob.when_it_is(id, SubmissionStatus::Approved).await;
            }
        })
        .await;
}

#[tokio::test]
async fn two_servers_tell_of_every_event_in_order() {
    let system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let mut subscriber = Subscriber::new(&system).await;
    let second = Server::start(&system.backend, &[]).await;
    let anns = [system.caller("ann"), system.caller_at(&second, "ann")];
    let bobs = [system.caller_at(&second, "bob"), system.caller("bob")];
    let submissions = submit_many(&anns, 0, 100).await;
    approve_all(&bobs, &submissions).await;
    subscriber.has_heard_all_of(&system, &submissions).await;
    assert_eq!(
        subscriber.keys_of(&submissions[0]),
        [
            "submission.submitted",
            "stage.started",
            "step.started",
            "step.completed",
            "step.started",
            "work_item.assigned",
            "work_item.approved",
            "step.completed",
            "step.started",
            "step.completed",
            "stage.completed",
            "submission.approved",
        ]
    );
    let (_, approved) = subscriber.messages.iter().find(|(key, _)| key == "work_item.approved").unwrap();
    let data = &approved["data"];
    assert_eq!(
        (&data["process"], &data["step"], &data["assignee"], &data["decision"]["by"]),
        (&json!("two-jobs"), &json!("approve"), &json!({ "kind": "user", "name": "bob" }), &json!("bob"))
    );
    assert!(second.program.stop().await.success());
    system.end().await;
}

#[tokio::test]
async fn what_happens_while_the_broker_is_away_is_told_when_it_is_back() {
    let wire = Wire::to_broker().await;
    let mut backend = Backend::postgres_and_rabbitmq().await;
    backend.broker.as_mut().unwrap().url = wire.url();
    let system = where_bob_is_asked(backend).await;
    let mut subscriber = Subscriber::new(&system).await;
    let ann = system.caller("ann");
    let before = ann.submit("ask", json!({ "n": 1 })).await.id;
    subscriber.has_heard_all_of(&system, std::slice::from_ref(&before)).await;

    wire.cut();
    let during = ann.submit_under(TRACE, "ask", json!({ "n": 2 })).await.id;
    comment(&ann, &before, "is anybody there?").await;
    comment(&ann, &during, "nobody hears me").await;
    let both = [before, during];
    assert_eq!(in_outbox(&system, &both).await, both.iter().cloned().collect());
    wire.mend();
    subscriber.has_heard_all_of(&system, &both).await;
    for (_, message) in &subscriber.messages {
        let trace = (message["subject"] == both[1].as_str()).then_some(TRACE);
        assert_eq!(message.get("traceparent").and_then(Value::as_str), trace, "{message}");
    }
    system.end().await;
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_no_event_untold() {
    let mut system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let mut subscriber = Subscriber::new(&system).await;
    let mut all = Vec::new();
    for round in 0..3 {
        all.extend(submit_many(&[system.caller("ann")], round, 30).await);
        // What was answered is committed; of what follows from it some is told, and some is not.
        let next = Server::start(&system.backend, &[]).await;
        let mut killed = std::mem::replace(&mut system.server, next);
        killed.program.kill();
    }
    let bobs = [system.caller("bob")];
    approve_all(&bobs, &all).await;
    subscriber.has_heard_all_of(&system, &all).await;
    system.end().await;
}

#[tokio::test]
async fn nobody_is_told_where_that_is_switched_off() {
    let mut system = where_bob_is_asked(Backend::postgres_and_rabbitmq().await).await;
    let mut subscriber = Subscriber::new(&system).await;
    system.restart_server(&["--events", "false"]).await;
    let ann = system.caller("ann");
    let id = ann.submit("ask", json!({ "n": 1 })).await.id;
    assert_eq!(in_outbox(&system, std::slice::from_ref(&id)).await, BTreeSet::new());
    // Switched on again, it begins with what happens then.
    system.restart_server(&[]).await;
    comment(&system.caller("ann"), &id, "hello").await;
    subscriber.listen_until("the comment", |this| !this.messages.is_empty()).await;
    assert_eq!(subscriber.keys_of(&id), ["submission.commented"]);
    system.end().await;
}

#[tokio::test]
async fn the_consumer_of_the_example_follows_along() {
    let system = where_bob_is_asked(Backend::postgres_and_rabbitmq().await).await;
    let broker = system.backend.broker();
    let folder = tempfile::tempdir().unwrap();
    let mut consumer = consume(&broker.url, &broker.prefix, folder.path());
    consumer.said("that it follows", |line| line.contains("following").then_some(())).await;
    let ann = system.caller("ann");
    let id = ann.submit("ask", json!({ "n": 1 })).await.id;
    consumer.said("who was asked", |line| line.starts_with("quorate.work_item.assigned").then_some(())).await;
    assert!(consumer.stop().await.success());

    // What happens while it is away waits in its queue.
    comment(&ann, &id, "still there?").await;
    until("an empty outbox", || async { in_outbox(&system, std::slice::from_ref(&id)).await.is_empty().then_some(()) })
        .await;
    let mut consumer = consume(&broker.url, &broker.prefix, folder.path());
    let first = consumer.said("a first event", |line| line.starts_with("quorate.").then(|| line.to_owned())).await;
    assert!(first.starts_with("quorate.submission.commented"), "{first}");
    assert!(consumer.stop().await.success());
    let queue = format!("{}-events", broker.prefix);
    broker.corner().delete(&queue).await;
    system.end().await;
}

fn consume(url: &str, prefix: &str, folder: &Path) -> Program {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    printed(Command::new("bash").arg(project.join("scripts/install-workers.sh")));
    let mut command = Command::new(project.join("target/workers/python/bin/python"));
    command.arg(project.join("examples/events/consumer.py"));
    command.env("QUORATE_AMQP_URL", url).env("QUORATE_AMQP_PREFIX", prefix).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("EVENTS_QUEUE", format!("{prefix}-events")).env("EVENTS_DATABASE", folder.join("events.db"));
    Program::start("the consumer in Python", command)
}
