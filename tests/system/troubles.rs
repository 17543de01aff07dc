//! Errors of steps: what they discontinue, the fault path, and an administrator's help.

use quorate::proto::{
    v1::{
        StepRunStatus, SubmissionServiceRetryStepRequest, SubmissionServiceSkipStepRequest, SubmissionStatus,
        WorkItemStatus,
    },
    value,
};
use serde_json::json;

use crate::{
    approvals::step,
    audit::{kinds, verified_history},
    backend::Backend,
    caller::refused,
    on_every_backend,
    system::System,
};

on_every_backend! {
    async fn an_error_without_a_fault_path_waits_for_an_administrator_whose_retry_mends_it(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        let failed = ann.submit("fragile", json!({ "times": 1 })).await;
        assert_eq!(failed.status(), SubmissionStatus::Error);
        assert_eq!(step(&failed, "book"), StepRunStatus::Error);
        let failure = failed.stages[0].steps[0].failure.clone().unwrap();
        assert!(failure.message.contains("ERP_DOWN") || failure.reason.contains("ERP_DOWN"), "{failure:?}");
        let retry = |step: &str| SubmissionServiceRetryStepRequest { id: failed.id.clone(), step: step.into(), ..Default::default() };
        assert_eq!(refused(ann.submissions().retry_step(retry("book")).await).1, "ROLE_MISSING");
        assert_eq!(refused(admin.submissions().retry_step(retry("approve")).await).1, "STEP_NOT_IN_ERROR");
        let mended = admin.submissions().retry_step(retry("book")).await.unwrap().into_inner().submission.unwrap();
        // The step is synchronous, so that the answer shows its end.
        assert_eq!(step(&mended, "book"), StepRunStatus::Completed);
        assert_eq!(mended.stages[0].steps[0].attempt, 2);
        let bob = system.caller("bob");
        bob.approve(&bob.item_of(&failed.id).await).await;
        ann.when_it_is(&failed.id, SubmissionStatus::Approved).await;
        let kinds = kinds(&verified_history(&system.store, &failed.id).await);
        assert!(kinds.contains(&"JOB_REVIVED".to_owned()), "{kinds:?}");
        system.end().await;
    }

    async fn a_skipped_step_has_the_outputs_that_were_stated(backend: Backend) {
        let system = System::start(backend).await;
        let failed = system.caller("ann").submit("fragile", json!({ "times": 9 })).await;
        assert_eq!(failed.status(), SubmissionStatus::Error);
        let outputs = json!({ "order": "by hand" });
        let skip = SubmissionServiceSkipStepRequest {
            id: failed.id.clone(),
            step: "book".into(),
            outputs: Some(value::from_json(&outputs)),
            comment: "booked by hand".into(),
            ..Default::default()
        };
        let skipped = system.caller("admin").submissions().skip_step(skip).await.unwrap().into_inner().submission.unwrap();
        assert_eq!(skipped.status(), SubmissionStatus::InProgress);
        assert_eq!(step(&skipped, "book"), StepRunStatus::Completed);
        assert_eq!(skipped.stages[0].steps[0].outputs, Some(value::from_json(&outputs)));
        let bob = system.caller("bob");
        bob.approve(&bob.item_of(&failed.id).await).await;
        system.caller("ann").when_it_is(&failed.id, SubmissionStatus::Approved).await;
        verified_history(&system.store, &failed.id).await;
        system.end().await;
    }

    async fn an_error_takes_the_fault_path_and_its_outcome(backend: Backend) {
        let system = System::start(backend).await;
        let ann = system.caller("ann");
        let submitted = ann.submit("faulty", json!({})).await;
        let ended = ann.when_it_is(&submitted.id, SubmissionStatus::Rejected).await;
        assert_eq!(step(&ended, "book"), StepRunStatus::Error);
        assert_eq!(step(&ended, "look"), StepRunStatus::Discontinued);
        assert_eq!(step(&ended, "notify"), StepRunStatus::Completed);
        let look = ended.stages[0].steps.iter().find(|step| step.name == "look").unwrap();
        assert_eq!(look.work_items[0].status(), WorkItemStatus::Errored);
        verified_history(&system.store, &submitted.id).await;
        system.end().await;
    }
}
