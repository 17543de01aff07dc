//! Changes of records that are told at once, more than once, and over a queue that an earlier version declared.

use std::collections::BTreeSet;

use futures::{StreamExt, future::join_all, stream};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use quorate::{
    proto::{
        v1::{self, ChangeKind, Submission, change_effect::Outcome},
        value,
    },
    scheduler::records::RECORD_SUBMISSIONS_MAX,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{CALLS_AT_ONCE, Caller, refused},
    on_every_backend,
    queue_support::until,
    system::{Server, System},
    triggers::{change, report},
};

/// Submitted by itself where the discount is not small; every change of it is taken.
const DISCOUNT: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: discount
record: { type: quote, on_change: keep }
trigger: { on: [created, updated], when: record.percent > 10.0 }
stages: [{ name: review, steps: [{ name: bob, approval: { assign: [{ user: bob }] } }] }]
";

/// Knows the same records, and asks about them only when it is told to.
const NOTE: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: note
record: { type: quote }
stages: [{ name: review, steps: [{ name: bob, approval: { assign: [{ user: bob }] } }] }]
";

/// All submissions of the record.
async fn of_record(caller: &Caller) -> Vec<Submission> {
    let request = v1::SubmissionServiceListRequest {
        filter: "record_type = quote AND record_id = Q-1".to_owned(),
        page_size: 500,
        ..v1::SubmissionServiceListRequest::default()
    };
    caller.submissions().list(request).await.unwrap().into_inner().submissions
}

on_every_backend! {
    async fn changes_that_are_told_at_once_begin_one_submission(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        // SQLite is one server's.
        let second = match &system.backend.broker {
            Some(_) => Some(Server::start(&system.backend, &[]).await),
            None => None,
        };
        system.caller("admin").publish_process(DISCOUNT).await;
        let erps: Vec<Caller> = std::iter::once(&system.server).chain(&second).map(|at| system.caller_at(at, "erp")).collect();
        // Each tells of data of its own, under an id of its own.
        let told = join_all((0..16_usize).map(|n| {
            let erp = &erps[n % erps.len()];
            report(erp, change("Q-1", ChangeKind::Updated, &json!({ "percent": 20 + n }), &format!("r-{n}")))
        }))
        .await;
        let submissions = of_record(&erps[0]).await;
        assert_eq!(submissions.len(), 1, "{submissions:?}");
        let id = &submissions[0].id;
        let named: BTreeSet<String> =
            told.iter().flat_map(|told| told.as_ref().unwrap()).map(|effect| effect.submission.clone()).collect();
        assert_eq!(named, BTreeSet::from([id.clone()]));
        // Nobody's data is lost on the way: each is a version of the record.
        assert_eq!(erps[0].get(id).await.record.unwrap().version, 16);
        verified_history(&system.store, id).await;
        if let Some(second) = second {
            assert!(second.program.stop().await.success());
        }
        system.end().await;
    }

    async fn a_record_is_submitted_again_however_much_other_processes_made_of_it_since(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, erp) = (system.caller("admin"), system.caller("erp"));
        admin.publish_process(DISCOUNT).await;
        admin.publish_process(NOTE).await;
        let told = |percent: u32| change("R-1", ChangeKind::Updated, &json!({ "percent": percent }), "");
        let first = report(&erp, told(20)).await.unwrap().remove(0);
        recall(&erp, &first.submission).await;
        // More than are looked at first.
        let others = submit_many(&erp, "note", &json!({}), RECORD_SUBMISSIONS_MAX as usize + 1).await;
        recall_all(&erp, &others).await;

        let unchanged = report(&erp, told(20)).await.unwrap();
        assert_eq!(unchanged, [], "what was decided on is not asked again");
        let second = report(&erp, told(30)).await.unwrap().remove(0);
        assert_eq!(second.outcome(), Outcome::Submitted, "{second:?}");
        assert_ne!(second.submission, first.submission);
        system.end().await;
    }

    async fn what_is_open_is_told_however_much_has_ended_since_and_too_much_is_refused(backend: Backend) {
        const MAX: usize = RECORD_SUBMISSIONS_MAX as usize;
        let system = System::start_without_worker(backend).await;
        let (admin, erp) = (system.caller("admin"), system.caller("erp"));
        admin.publish_process(DISCOUNT).await;
        let small = json!({ "percent": 5 });
        let oldest = erp.submit("discount", small.clone()).await;
        recall_all(&erp, &submit_many(&erp, "discount", &small, MAX).await).await;
        let request = |percent: u32| change("R-1", ChangeKind::Updated, &json!({ "percent": percent }), "");
        let told = report(&erp, request(6)).await.unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].submission.as_str(), told[0].outcome()), (oldest.id.as_str(), Outcome::Updated));

        let open = submit_many(&erp, "discount", &small, MAX).await;
        let refusal = report(&erp, request(7)).await;
        assert_eq!(refused(refusal), (Code::FailedPrecondition, "RECORD_SUBMISSIONS_EXCEEDED".to_owned()));
        assert_eq!(erp.get(&open[0].id).await.record.unwrap().version, 1);
        recall(&erp, &open[0].id).await;
        assert_eq!(report(&erp, request(7)).await.unwrap().len(), MAX);
        assert_eq!(erp.get(&oldest.id).await.record.unwrap().version, 3);
        system.end().await;
    }
}

async fn submit_many(caller: &Caller, process: &str, data: &Value, count: usize) -> Vec<Submission> {
    stream::iter(0..count).map(|_| caller.submit(process, data.clone())).buffered(CALLS_AT_ONCE).collect().await
}

async fn recall_all(caller: &Caller, submissions: &[Submission]) {
    stream::iter(submissions).for_each_concurrent(CALLS_AT_ONCE, |submission| recall(caller, &submission.id)).await;
}

async fn recall(caller: &Caller, id: &str) {
    let request = v1::SubmissionServiceRecallRequest { id: id.to_owned(), ..Default::default() };
    caller.submissions().recall(request).await.unwrap();
}

/// Puts a message into `quorate.records`.
async fn put(system: &System, body: &[u8], message_id: Option<&str>) {
    let corner = system.backend.broker().corner();
    let properties =
        message_id.map_or_else(BasicProperties::default, |id| BasicProperties::default().with_message_id(id.into()));
    corner.put_with(&corner.names.records_queue(), body, properties).await;
}

fn message(kind: &str, percent: u32, request_id: &str) -> Vec<u8> {
    let message = json!({
        "request_id": request_id, "record_type": "quote", "record_id": "Q-1", "kind": kind, "reported_by": "erp",
        "data": { "percent": percent },
    });
    message.to_string().into_bytes()
}

#[tokio::test]
async fn a_message_is_known_again_by_the_id_in_it_or_by_its_own() {
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    let (admin, erp) = (system.caller("admin"), system.caller("erp"));
    admin.publish_process(DISCOUNT).await;
    put(&system, &message("CREATED", 20, "m-1"), None).await;
    let submitted = until("the submission", || async { of_record(&erp).await.pop() }).await;
    assert_eq!(submitted.submitter, "erp");

    // Some come twice, known by the id in the body or by the message's own, with another change in between.
    put(&system, &message("UPDATED", 30, "m-2"), None).await;
    erp.when(&submitted.id, "the change", |now| now.record.as_ref().unwrap().version == 2).await;
    put(&system, &message("UPDATED", 40, ""), Some("m-3")).await;
    erp.when(&submitted.id, "the next change", |now| now.record.as_ref().unwrap().version == 3).await;
    put(&system, &message("UPDATED", 30, "m-2"), None).await;
    put(&system, &message("UPDATED", 50, "m-4"), Some("m-3")).await;
    erp.when(&submitted.id, "the last change", |now| now.record.as_ref().unwrap().version == 4).await;
    put(&system, &message("UPDATED", 40, ""), Some("m-3")).await;

    put(&system, &message("UPDATED", 70, "m-5"), None).await;
    let seventy = value::from_json(&json!({ "percent": 70 }));
    let last = erp
        .when(&submitted.id, "the change after it", |now| now.record.as_ref().unwrap().data.as_ref() == Some(&seventy));
    assert_eq!(last.await.record.unwrap().version, 5);
    assert_eq!(of_record(&erp).await.len(), 1);
    verified_history(&system.store, &submitted.id).await;
    system.end().await;
}

#[tokio::test]
async fn a_queue_of_before_is_used_as_it_is() {
    let backend = Backend::postgres_and_rabbitmq().await;
    // As the version before declared it: without dead-lettering.
    let corner = backend.broker().corner();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = lapin::options::QueueDeclareOptions::durable();
    corner.channel.queue_declare(corner.names.records_queue().into(), durable, arguments).await.unwrap();
    let system = System::start_without_worker(backend).await;
    system.caller("admin").publish_process(DISCOUNT).await;
    put(&system, &message("CREATED", 20, "m-1"), None).await;
    until("the submission", || async { of_record(&system.caller("erp")).await.pop() }).await;
    system.end().await;
}
