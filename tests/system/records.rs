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

/// Carol's approval counts again while the vendor is the same.
const RESUBMITTED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: resubmitted
record: { type: note }
stages:
  - name: review
    steps:
      - { name: vendor, approval: { assign: [{ user: carol }], reuse_approval: { when_unchanged: [vendor] } } }
      - { name: amount, approval: { assign: [{ user: bob }] } }
";

on_every_backend! {
    async fn what_was_rejected_is_resubmitted_and_what_was_approved_counts_again(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(RESUBMITTED).await;
        let (ann, bob, carol) = (system.caller("ann"), system.caller("bob"), system.caller("carol"));
        let id = ann.submit("resubmitted", json!({ "amount": 9, "vendor": "ACME" })).await.id;
        let items = ann.items_of(&id, &["carol", "bob"]).await;
        let request = v1::SubmissionServiceResubmitRequest {
            id: id.clone(),
            data: Some(value::from_json(&json!({ "amount": 5, "vendor": "ACME" }))),
            request_id: "again".to_owned(),
            ..v1::SubmissionServiceResubmitRequest::default()
        };
        let early = ann.submissions().resubmit(request.clone()).await;
        assert_eq!(refused(early), (Code::FailedPrecondition, "SUBMISSION_STATUS_UNFIT".to_owned()));
        carol.approve(&items[0]).await;
        bob.decide(decision(&items[1], Verdict::Reject, "too much", "")).await.unwrap();
        ann.when_it_is(&id, SubmissionStatus::Rejected).await;

        let foreign = bob.submissions().resubmit(request.clone()).await;
        assert_eq!(refused(foreign), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
        let first = ann.submissions().resubmit(request.clone()).await.unwrap().into_inner().submission.unwrap();
        let second = ann.submissions().resubmit(request).await.unwrap().into_inner().submission.unwrap();
        assert_eq!(first, second, "the same call has the same answer");
        assert_eq!((first.resubmission_of.as_str(), first.process.as_str()), (id.as_str(), "resubmitted"));
        let reused = first.stages[0].steps[0].reused.clone().unwrap();
        assert_eq!((reused.submission.as_str(), reused.reviewers.as_slice()), (id.as_str(), &["carol".to_owned()][..]));
        bob.approve(&ann.items_of(&first.id, &["bob"]).await[0]).await;
        ann.when_it_is(&first.id, SubmissionStatus::Approved).await;
        verified_history(&system.store, &first.id).await;

        // From the command line, with what is not said as it was.
        let server = format!("http://{}", system.server.address);
        let token = system.token("ann");
        printed(quorate().args(["resubmit", &first.id, "--server", &server]).env("QUORATE_TOKEN", token));
        let list = v1::SubmissionServiceListRequest {
            filter: "process = resubmitted".to_owned(),
            ..v1::SubmissionServiceListRequest::default()
        };
        let submissions = ann.submissions().list(list).await.unwrap().into_inner().submissions;
        assert_eq!(submissions.len(), 3);
        let newest = ann.get(&submissions[0].id).await;
        assert_eq!((newest.resubmission_of, newest.record.unwrap().data), (first.id, first.record.unwrap().data));
        system.end().await;
    }
}
