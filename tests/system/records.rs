//! Changes of the record of a submission in progress, through the API and the command line.

use quorate::proto::{
    v1::{self, Submission, SubmissionStatus, Verdict},
    value,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, decision, refused},
    on_every_backend,
    program::{printed, quorate},
    system::System,
};

/// Bob decides on the amount, and carol on the vendor.
const AFFECTED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: affected
record:
  type: note
  on_change: dismiss_affected
  schema: { type: object, required: [amount], properties: { amount: { type: number }, vendor: { type: string } } }
summary: record.vendor
stages:
  - name: review
    steps:
      - { name: amount, approval: { assign: [{ user: bob }], depends_on: [amount] } }
      - { name: vendor, approval: { assign: [{ user: carol }], depends_on: [vendor] } }
  - name: board
    steps: [{ name: board, approval: { assign: [{ user: grace }] } }]
";

async fn update(caller: &Caller, id: &str, data: &Value, request_id: &str) -> Result<Submission, Status> {
    let request = v1::SubmissionServiceUpdateRecordRequest {
        id: id.to_owned(),
        data: Some(value::from_json(data)),
        comment: "a better offer".to_owned(),
        request_id: request_id.to_owned(),
    };
    Ok(caller.submissions().update_record(request).await?.into_inner().submission.unwrap())
}

on_every_backend! {
    async fn a_change_asks_those_again_whom_it_concerns(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(AFFECTED).await;
        let (ann, bob, carol) = (system.caller("ann"), system.caller("bob"), system.caller("carol"));
        let id = ann.submit("affected", json!({ "amount": 1, "vendor": "ACME" })).await.id;
        let items = ann.items_of(&id, &["bob", "carol"]).await;
        bob.approve(&items[0]).await;
        carol.approve(&items[1]).await;

        let other = update(&bob, &id, &json!({ "amount": 2, "vendor": "ACME" }), "").await;
        assert_eq!(refused(other), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
        let unfit = update(&ann, &id, &json!({ "amount": "much" }), "").await;
        assert_eq!(refused(unfit), (Code::InvalidArgument, "RECORD_INVALID".to_owned()));

        let changed = json!({ "amount": 2, "vendor": "ACME" });
        let first = update(&ann, &id, &changed, "u-1").await.unwrap();
        assert_eq!((first.record.as_ref().unwrap().version, first.round), (2, 2));
        assert_eq!(update(&ann, &id, &changed, "u-1").await.unwrap(), first, "the same call has the same answer");
        let reused = first.stages.last().unwrap().steps.iter().find_map(|step| step.reused.clone()).unwrap();
        assert_eq!((reused.submission.as_str(), reused.reviewers.as_slice()), (id.as_str(), &["carol".to_owned()][..]));

        let again = ann.items_of(&id, &["bob"]).await;
        let stale = bob.decide(decision(&items[0], Verdict::Approve, "", "")).await;
        assert_eq!(refused(stale), (Code::FailedPrecondition, "ALREADY_DECIDED".to_owned()));
        bob.approve(&again[0]).await;
        system.caller("grace").approve(&ann.items_of(&id, &["grace"]).await[0]).await;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(ended.record.unwrap().data, Some(value::from_json(&changed)));
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn the_command_line_changes_a_record(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(AFFECTED).await;
        let ann = system.caller("ann");
        let id = ann.submit("affected", json!({ "amount": 1, "vendor": "ACME" })).await.id;
        let server = format!("http://{}", system.server.address);
        let token = system.token("ann");
        let data = r#"{"amount": 1, "vendor": "Bolt"}"#;
        printed(quorate().args(["update-record", &id, "--data", data, "--server", &server]).env("QUORATE_TOKEN", token));
        let updated = ann.get(&id).await;
        assert_eq!((updated.summary.as_str(), updated.record.unwrap().version), ("Bolt", 2));
        system.end().await;
    }
}
