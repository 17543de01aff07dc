//! Changes of records as the systems tell of them that the records live in: by calls, and by messages of the broker.

use futures::future::join_all;
use quorate::proto::{
    v1::{self, ChangeKind, SubmissionStatus, change_effect::Outcome},
    value,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    audit::{all_submissions, verified_history},
    backend::Backend,
    caller::{Caller, refused},
    on_every_backend,
    queue_support::until,
    system::{Server, System},
};

/// A quote with a discount of some size is submitted by itself, and may change meanwhile.
const DISCOUNT: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: discount
record:
  type: quote
  on_change: dismiss_all
  schema: { type: object, required: [discount], properties: { discount: { type: number }, limit: { type: number } } }
trigger: { on: [created, updated], when: record.discount > 0.1 }
stages: [{ name: review, steps: [{ name: manager, approval: { assign: [{ user: bob }] } }] }]
";

/// A quote that is new is looked at, whatever becomes of it meanwhile; where no limit is given, whether cannot be told.
const WELCOME: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: welcome
record:
  type: quote
  schema: { type: object, properties: { discount: { type: number }, limit: { type: number } } }
trigger: { on: [created], when: record.limit > 0.0 }
stages: [{ name: look, steps: [{ name: look, approval: { assign: [{ user: carol }] } }] }]
";

pub(crate) fn change(
    id: &str,
    kind: ChangeKind,
    data: &Value,
    request_id: &str,
) -> v1::RecordServiceReportChangeRequest {
    v1::RecordServiceReportChangeRequest {
        record: Some(v1::Record {
            r#type: "quote".to_owned(),
            id: id.to_owned(),
            data: Some(value::from_json(data)),
            ..v1::Record::default()
        }),
        kind: kind.into(),
        on_behalf_of: "eve".to_owned(),
        request_id: request_id.to_owned(),
    }
}

pub(crate) async fn report(
    caller: &Caller,
    request: v1::RecordServiceReportChangeRequest,
) -> Result<Vec<v1::ChangeEffect>, Status> {
    Ok(caller.records().report_change(request).await?.into_inner().effects)
}

/// What became of a change, by process: `discount SUBMITTED`, `welcome REFUSED EXPRESSION_FAILED`.
fn told(effects: &[v1::ChangeEffect]) -> Vec<String> {
    let line = |effect: &v1::ChangeEffect| {
        let outcome = effect.outcome().as_str_name().trim_start_matches("OUTCOME_");
        format!("{} {outcome} {}", effect.process, effect.reason).trim_end().to_owned()
    };
    let mut lines: Vec<String> = effects.iter().map(line).collect();
    lines.sort();
    lines
}

async fn system_with_triggers(backend: Backend) -> System {
    let system = System::start_without_worker(backend).await;
    for process in [DISCOUNT, WELCOME] {
        system.caller("admin").publish_process(process).await;
    }
    system
}

on_every_backend! {
    async fn a_change_submits_its_record_and_open_submissions_learn_of_the_next(backend: Backend) {
        let system = system_with_triggers(backend).await;
        let (erp, bob) = (system.caller("erp"), system.caller("bob"));
        let created = change("1", ChangeKind::Created, &json!({ "discount": 0.2, "limit": 1 }), "r1");
        let first = report(&erp, created.clone()).await.unwrap();
        assert_eq!(told(&first), ["discount SUBMITTED", "welcome SUBMITTED"]);
        assert_eq!(report(&erp, created.clone()).await.unwrap(), first, "the same call has the same answer");
        let other = change("1", ChangeKind::Created, &json!({ "discount": 0.3, "limit": 1 }), "r1");
        assert_eq!(refused(report(&erp, other).await), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        let again = v1::RecordServiceReportChangeRequest { request_id: String::new(), ..created };
        assert_eq!(told(&report(&erp, again).await.unwrap()), ["discount UNCHANGED", "welcome UNCHANGED"]);

        let id = &first.iter().find(|effect| effect.process == "discount").unwrap().submission;
        let submitted = erp.get(id).await;
        assert_eq!((submitted.submitter.as_str(), submitted.on_behalf_of.as_str()), ("erp", "eve"));
        let item = erp.items_of(id, &["bob"]).await.remove(0);
        let more = change("1", ChangeKind::Updated, &json!({ "discount": 0.3, "limit": 1 }), "r2");
        let effects = report(&erp, more).await.unwrap();
        assert_eq!(told(&effects), ["discount UPDATED", "welcome IGNORED RECORD_CHANGE_DENIED"]);
        assert_eq!(erp.get(id).await.record.unwrap().version, 2);
        assert_eq!(refused(bob.decide(crate::caller::decision(&item, v1::Verdict::Approve, "", "")).await).1, "RECORD_CHANGED");
        bob.approve(&erp.items_of(id, &["bob"]).await[0]).await;
        erp.when_it_is(id, SubmissionStatus::Approved).await;
        verified_history(&system.store, id).await;

        // What was decided on is not asked again; what is small is nobody's business; what is new is.
        let same = change("1", ChangeKind::Updated, &json!({ "discount": 0.3, "limit": 1 }), "");
        assert_eq!(told(&report(&erp, same).await.unwrap()), ["welcome IGNORED RECORD_CHANGE_DENIED"]);
        let small = change("1", ChangeKind::Updated, &json!({ "discount": 0.1, "limit": 1 }), "");
        assert_eq!(told(&report(&erp, small).await.unwrap()), ["welcome IGNORED RECORD_CHANGE_DENIED"]);
        let anew = change("1", ChangeKind::Updated, &json!({ "discount": 0.4, "limit": 1 }), "");
        let anew = report(&erp, anew).await.unwrap();
        assert_eq!(told(&anew), ["discount SUBMITTED", "welcome IGNORED RECORD_CHANGE_DENIED"]);
        assert!(anew.iter().all(|effect| effect.submission != *id), "{anew:?}");
        system.end().await;
    }

    async fn what_cannot_be_told_or_taken_is_said(backend: Backend) {
        let system = system_with_triggers(backend).await;
        let erp = system.caller("erp");
        let failing = change("1", ChangeKind::Created, &json!({ "discount": 0.0 }), "");
        assert_eq!(told(&report(&erp, failing).await.unwrap()), ["welcome REFUSED EXPRESSION_FAILED"]);
        let unfit = change("1", ChangeKind::Updated, &json!({ "discount": 0.5, "limit": "high" }), "");
        assert_eq!(told(&report(&erp, unfit).await.unwrap()), ["discount REFUSED RECORD_INVALID"]);
        assert_eq!(all_submissions(&system.store).await, [""; 0]);
        let good = || change("1", ChangeKind::Updated, &json!({}), "");
        let record = |change: fn(&mut v1::Record)| {
            let mut request = good();
            change(request.record.as_mut().unwrap());
            request
        };
        let bad = [
            (change("1", ChangeKind::Unspecified, &json!({}), ""), "kind"),
            (v1::RecordServiceReportChangeRequest { record: None, ..good() }, "record"),
            (v1::RecordServiceReportChangeRequest { on_behalf_of: "e v".to_owned(), ..good() }, "on_behalf_of"),
            (record(|record| record.id.clear()), "record.id"),
            (record(|record| record.r#type.clear()), "record.type"),
            (record(|record| record.data = None), "record.data"),
        ];
        for (request, field) in bad {
            let status = report(&erp, request).await.unwrap_err();
            assert_eq!(crate::caller::fields(&status), [field], "{status:?}");
        }
        let status = report(&system.caller("auditor"), good()).await;
        assert_eq!(refused(status), (Code::PermissionDenied, "ROLE_MISSING".to_owned()));
        system.end().await;
    }

    async fn many_that_tell_at_once_submit_once(backend: Backend) {
        let system = system_with_triggers(backend).await;
        let callers: Vec<_> = (0..8).map(|number| system.caller(&format!("erp-{number}"))).collect();
        let told_at_once = callers.iter().enumerate().map(|(number, caller)| {
            let data = json!({ "discount": 0.2 + f64::from(u8::try_from(number % 2).unwrap()) });
            report(caller, change("1", ChangeKind::Updated, &data, "mine"))
        });
        for effects in join_all(told_at_once).await {
            let effects = effects.unwrap();
            assert_eq!(effects.len(), 1, "{effects:?}");
            assert!(!matches!(effects[0].outcome(), Outcome::Refused | Outcome::Ignored), "{effects:?}");
        }
        let submissions = all_submissions(&system.store).await;
        assert_eq!(submissions.len(), 1);
        verified_history(&system.store, &submissions[0]).await;
        system.end().await;
    }
}

#[tokio::test]
async fn two_servers_that_are_told_at_once_submit_once() {
    let system = system_with_triggers(Backend::postgres_and_rabbitmq().await).await;
    let other = Server::start(&system.backend, &[]).await;
    let erp = [system.caller("erp"), system.caller_at(&other, "erp")];
    for record in 0..10 {
        let request = change(&record.to_string(), ChangeKind::Updated, &json!({ "discount": 0.2 }), "");
        let effects = join_all(erp.iter().map(|erp| report(erp, request.clone()))).await;
        let ids: Vec<_> = effects.into_iter().map(|effects| effects.unwrap().remove(0).submission).collect();
        assert_eq!(ids[0], ids[1]);
    }
    assert_eq!(all_submissions(&system.store).await.len(), 10);
    assert!(other.program.stop().await.success());
    system.end().await;
}

#[tokio::test]
async fn messages_tell_of_changes_once_each() {
    let system = system_with_triggers(Backend::postgres_and_rabbitmq().await).await;
    let erp = system.caller("erp");
    let corner = system.backend.broker().corner();
    let queue = corner.names.records_queue();
    let message = |id: &str, discount: f64, request: &str| {
        json!({
            "request_id": request, "record_type": "quote", "record_id": id, "kind": "UPDATED", "reported_by": "crm",
            "on_behalf_of": "eve", "data": { "discount": discount },
        })
        .to_string()
    };
    corner.put(&queue, message("1", 0.2, "m1").as_bytes()).await;
    let submissions = until("the submission of a message", || async {
        Some(all_submissions(&system.store).await).filter(|found| found.len() == 1)
    })
    .await;
    let submitted = erp.get(&submissions[0]).await;
    assert_eq!((submitted.submitter.as_str(), submitted.on_behalf_of.as_str()), ("crm", "eve"));
    // What cannot be read is buried with the reason, and what comes after it is not held up.
    for (body, reason) in [
        ("not json".to_owned(), "not the JSON of RecordChange"),
        (message("", 0.2, ""), "record_id: is missing"),
        (message("2", 0.2, "").replace("UPDATED", "DELETED"), "kind: is neither CREATED nor UPDATED"),
        (message("1", 0.9, "m1"), "request_id: was used before with another change"),
    ] {
        corner.put(&queue, body.as_bytes()).await;
        let (headers, dead) = corner.next_dead().await;
        assert_eq!(dead, body.as_bytes());
        assert!(headers["x-quorate-reason"].starts_with(reason), "{headers:?}");
        assert_eq!(headers["x-quorate-queue"], queue);
    }
    // The same message again does nothing, and the next change is taken.
    corner.put(&queue, message("1", 0.2, "m1").as_bytes()).await;
    corner.put(&queue, message("1", 0.3, "m2").as_bytes()).await;
    let changed =
        erp.when(&submissions[0], "the second change", |found| found.record.as_ref().unwrap().version == 2).await;
    assert_eq!(changed.record.unwrap().data, Some(value::from_json(&json!({ "discount": 0.3 }))));
    until("nothing to be left in the queue", || async { (corner.count(&queue).await == 0).then_some(()) }).await;
    assert_eq!(all_submissions(&system.store).await.len(), 1);
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    verified_history(&system.store, &submissions[0]).await;
    system.end().await;
}
