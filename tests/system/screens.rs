//! Screen flows through the API: what a reviewer is shown and asked, what they fill in, and a screen that cannot be shown.

use quorate::proto::{
    v1::{self, StepRunStatus, SubmissionStatus, Verdict, WorkItem, WorkItemStatus},
    value,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, facts, fields, refused},
    on_every_backend,
    system::System,
};

const FLOW: &str = "\
apiVersion: quorate/v1
kind: Flow
name: look
type: screen
screens:
  - name: look
    title: The purchase
    show: [{ label: Vendor, value: record.vendor }]
  - name: booking
    fields: { type: object, required: [cost_center], properties: { cost_center: { type: string, minLength: 2 }, limit: { type: number } } }
    prefill: { limit: record.amount }
";

/// It shows something else, and so tells which version a step is bound to.
const NEXT_FLOW: &str = "\
apiVersion: quorate/v1
kind: Flow
name: look
type: screen
screens: [{ name: other, show: [{ label: Amount, value: record.amount }] }]
";

const PROCESS: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: screened
record: { type: note }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ user: bob }], screen: look } }]
";

async fn screen(caller: &Caller, item: &WorkItem) -> Result<v1::Screen, Status> {
    let request = v1::WorkItemServiceGetScreenRequest { id: item.id.clone() };
    Ok(caller.work_items().get_screen(request).await?.into_inner().screen.unwrap())
}

fn filled_in(item: &WorkItem, digest: &str, values: &Value) -> v1::WorkItemServiceSubmitScreenRequest {
    v1::WorkItemServiceSubmitScreenRequest {
        id: item.id.clone(),
        verdict: Verdict::Approve.into(),
        record_digest: digest.to_owned(),
        values: Some(value::from_json(values)),
        ..v1::WorkItemServiceSubmitScreenRequest::default()
    }
}

on_every_backend! {
    async fn what_a_reviewer_fills_in_is_checked_and_returned_by_the_step(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        admin.publish_flows(FLOW).await;
        admin.publish_process(PROCESS).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        let id = ann.submit("screened", json!({ "vendor": "ACME", "amount": 50 })).await.id;
        let item = bob.item_of(&id).await;
        // The step stays with the version that it has started with.
        admin.publish_flows(NEXT_FLOW).await;
        let shown = screen(&bob, &item).await.unwrap();
        assert_eq!((shown.flow.as_str(), shown.flow_version, &shown.record_digest), ("look", 1, &item.record_digest));
        assert_eq!(shown.pages.len(), 2);
        assert_eq!(shown.pages[0].title, "The purchase");
        let vendor = &shown.pages[0].shown[0];
        assert_eq!((vendor.label.as_str(), vendor.value.clone().unwrap()), ("Vendor", "ACME".to_owned().into()));
        let held = value::to_json(shown.pages[1].values.as_ref().unwrap(), "").unwrap();
        assert_eq!(held, json!({ "limit": 50 }));
        assert_eq!(refused(screen(&ann, &item).await), (Code::PermissionDenied, "NOT_ASSIGNEE".to_owned()));

        let digest = shown.record_digest;
        let unfit = filled_in(&item, &digest, &json!({ "cost_center": 4711, "colour": "blue" }));
        let unfit = bob.work_items().submit_screen(unfit).await.unwrap_err();
        assert_eq!(fields(&unfit), ["values.colour", "values.cost_center"]);
        let old = filled_in(&item, "of another record", &json!({ "cost_center": "4711" }));
        let old = bob.work_items().submit_screen(old).await.unwrap_err();
        assert_eq!((old.code(), &facts(&old)["record_digest"]), (Code::Aborted, &digest));

        let mut request = filled_in(&item, &digest, &json!({ "cost_center": "4711", "limit": 60 }));
        "once".clone_into(&mut request.request_id);
        for _ in 0..2 {
            let decided = bob.work_items().submit_screen(request.clone()).await.unwrap().into_inner();
            assert_eq!(decided.submission_status(), SubmissionStatus::Approved);
            assert_eq!(decided.work_item.unwrap().status(), WorkItemStatus::Approved);
        }
        let ended = ann.get(&id).await;
        let outputs = value::to_json(ended.stages[0].steps[0].outputs.as_ref().unwrap(), "").unwrap();
        let expected =
            json!({ "decision": "APPROVE", "comments": "", "reviewer": "bob", "cost_center": "4711", "limit": 60 });
        assert_eq!(outputs, expected);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_screen_that_cannot_be_shown_is_an_error_of_its_step(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        admin.publish_flows(FLOW).await;
        admin.publish_process(PROCESS).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        let id = ann.submit("screened", json!({ "amount": 50 })).await.id;
        let item = bob.item_of(&id).await;
        assert_eq!(refused(screen(&bob, &item).await), (Code::FailedPrecondition, "SCREEN_FAILED".to_owned()));
        let failed = ann.get(&id).await;
        assert_eq!(failed.status(), SubmissionStatus::Error);
        assert_eq!(failed.failure.unwrap().reason, "SCREEN_FAILED");
        assert_eq!(failed.stages[0].steps[0].status(), StepRunStatus::Error);
        assert_eq!(failed.stages[0].steps[0].work_items[0].status(), WorkItemStatus::Errored);
        // A mended flow is what a retried step shows.
        admin.publish_flows(NEXT_FLOW).await;
        let retry = v1::SubmissionServiceRetryStepRequest {
            id: id.clone(),
            step: "sign".to_owned(),
            ..v1::SubmissionServiceRetryStepRequest::default()
        };
        admin.submissions().retry_step(retry).await.unwrap();
        let shown = screen(&bob, &item).await.unwrap();
        assert_eq!((shown.flow_version, shown.pages[0].shown[0].label.as_str()), (2, "Amount"));
        // Deciding without the screen works as ever.
        bob.approve(&item).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Approved);
        verified_history(&system.store, &id).await;
        system.end().await;
    }
}
