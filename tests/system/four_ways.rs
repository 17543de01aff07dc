//! The purchase example with its flows written four ways: declarative, in Rust, in Python and in TypeScript.

use std::{fs, path::Path};

use quorate::proto::v1::{SubmissionServiceRecallRequest, SubmissionStatus, Verdict};
use quorate_engine::event::Event;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    audit::{each_result_was_applied_once, verified_history},
    backend::Backend,
    caller::{Caller, decision},
    definitions::{PURCHASE, purchase},
    on_every_backend,
    queue_support::until,
    system::System,
    workers::{Erp, Source, Way, orders, running},
};

/// The example waits for seconds before it tries again.
const RETRIES_OF_THE_EXAMPLE: &str = "retry: { max_attempts: 5, initial_interval: 1s, backoff: 2.0, max_interval: 1m }";
const QUICK_RETRIES: &str = "retry: { max_attempts: 2, initial_interval: 1ms }";

/// A history without what is different in every submission: of each event its kind and its body.
type History = Vec<(String, Value)>;

/// Every id becomes the number of its first mention, every time becomes `TIME`.
#[derive(Default)]
struct Plain {
    ids: Vec<Uuid>,
}

impl Plain {
    fn history(events: &[Event]) -> History {
        let mut plain = Self::default();
        // A worker need not say that it starts a short job.
        let events = events.iter().map(|event| event.kind.to_parts()).filter(|(kind, _)| kind != "JOB_STARTED");
        events.map(|(kind, body)| (kind, plain.value(body))).collect()
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(self.fields(fields)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::String(text) => self.text(&text).into(),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    /// Tokens are random; what a flow says of its failure is for people; declarative flows are versions of their own.
    fn fields(&mut self, fields: Map<String, Value>) -> Map<String, Value> {
        let flow = fields.contains_key("flow");
        let mut plain = Map::new();
        for (name, value) in fields {
            if ["token", "next_token", "message"].contains(&name.as_str()) {
                continue;
            }
            let mut value = self.value(value);
            if flow && name == "flow" && value.get("version").is_some() {
                value["version"] = json!("VERSION");
            }
            plain.insert(name, value);
        }
        plain
    }

    fn text(&mut self, text: &str) -> String {
        if text.parse::<jiff::Timestamp>().is_ok() {
            return "TIME".to_owned();
        }
        // An order has the id of its job in its name.
        let (before, id) = text.split_at(text.len().saturating_sub(uuid::fmt::Hyphenated::LENGTH));
        let Ok(id) = id.parse::<Uuid>() else { return text.to_owned() };
        let number = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        format!("{before}ID-{number}")
    }
}

/// Submits purchases that end in every way there is, and gives their histories.
async fn histories(system: &System, erp: &Path) -> Vec<(&'static str, History)> {
    let [admin, ann, bob] = ["admin", "ann", "bob"].map(|name| system.caller(name));
    let submit = async |data: Value| ann.submit("purchase-request", data).await.id;
    let approve = async |id: &str| bob.approve(&ann.item_of(id).await).await;
    let mut histories = Vec::new();
    let mut ended = async |what, id: String, status| {
        ann.when_it_is(&id, status).await;
        let events = verified_history(&system.store, &id).await;
        if status == SubmissionStatus::Approved {
            each_result_was_applied_once(&events);
        }
        histories.push((what, Plain::history(&events)));
    };

    // Nobody can say what the budget is, in no attempt.
    let id = submit(purchase(50.0)).await;
    ended("a budget that cannot be read", id, SubmissionStatus::Error).await;

    fs::write(erp.join("budget"), "1000").unwrap();
    for (what, amount) in [("within the budget", 50.0), ("beyond the budget", 5000.0)] {
        let id = submit(purchase(amount)).await;
        approve(&id).await;
        ended(what, id, SubmissionStatus::Approved).await;
    }

    fs::write(erp.join("closed"), "").unwrap();
    let id = submit(purchase(60.0)).await;
    approve(&id).await;
    until("the order to be carried out", || running(&admin)).await;
    assert_eq!(orders(erp).len(), 2, "it waits");
    fs::remove_file(erp.join("closed")).unwrap();
    ended("an order that has to wait", id, SubmissionStatus::Approved).await;

    fs::write(erp.join("blocked"), "EVIL\n").unwrap();
    let id = submit(json!({ "vendor": "EVIL", "amount": 50 })).await;
    approve(&id).await;
    ended("an order that is refused", id, SubmissionStatus::Error).await;

    let id = submit(purchase(70.0)).await;
    let item = ann.item_of(&id).await;
    bob.decide(decision(&item, Verdict::Reject, "too much", "")).await.unwrap();
    ended("a rejection", id, SubmissionStatus::Rejected).await;

    let id = submit(purchase(80.0)).await;
    ann.item_of(&id).await;
    recall(&ann, &id).await;
    ended("a recall", id, SubmissionStatus::Recalled).await;
    histories
}

async fn recall(caller: &Caller, id: &str) {
    let request = SubmissionServiceRecallRequest { id: id.to_owned(), ..Default::default() };
    caller.submissions().recall(request).await.unwrap();
}

on_every_backend! {
    async fn the_purchase_example_has_the_same_history_four_ways(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        assert!(PURCHASE.contains(RETRIES_OF_THE_EXAMPLE));
        admin.publish_process(&PURCHASE.replace(RETRIES_OF_THE_EXAMPLE, QUICK_RETRIES)).await;
        let mut seen: Vec<(Way, Vec<(&str, History)>)> = Vec::new();
        // The declarative ones are published last: a worker that serves a flow's name does not look at its document.
        for way in [Way::Rust, Way::Python, Way::TypeScript, Way::Declarative] {
            let folder = tempfile::tempdir().unwrap();
            let erp = Erp::start(folder.path()).await;
            if way == Way::Declarative {
                admin.publish_flows(&erp.flows()).await;
            }
            let worker = way.start(&Source::of(&system), folder.path(), &[]).await;
            seen.push((way, histories(&system, folder.path()).await));
            assert!(worker.stop().await.success());
        }
        let (first, rest) = seen.split_first().unwrap();
        for (way, histories) in rest {
            for ((what, expected), (_, history)) in first.1.iter().zip(histories) {
                assert_eq!(expected, history, "{what}: {:?} and {way:?}", first.0);
            }
        }
        let names = |histories: &[(&'static str, History)]| histories.iter().map(|(what, _)| *what).collect::<Vec<_>>();
        assert!(seen.iter().all(|(_, histories)| names(histories) == names(&first.1)));
        system.end().await;
    }
}
