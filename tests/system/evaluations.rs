//! Conditions that evaluation flows answer, with a worker that answers.

use quorate::proto::v1::{JobServiceListRequest, StageRunStatus, StepRunStatus, SubmissionStatus};
use serde_json::json;

use crate::{approvals::step, audit::verified_history, backend::Backend, on_every_backend, system::System};

/// The worker of the tests gives back what it is given, and so answers what the condition says it should.
const FLOWS: &str = "\
apiVersion: quorate/v1
kind: Flow
name: holds
type: evaluation
code: {}
";

/// Carol is asked where a flow says so, and another one says when the stage is over.
const ASKING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: asking
record: { type: note, schema: { type: object, properties: { amount: { type: number } } } }
stages:
  - name: review
    steps:
      - { name: manager, approval: { assign: [{ user: bob }] } }
      - name: finance
        start: { evaluation: { flow: holds, input: { isOrchestrationConditionMet: record.amount > 10.0 } } }
        approval: { assign: [{ user: carol }] }
    complete:
      evaluation:
        flow: holds
        input: { isOrchestrationConditionMet: \"steps.manager.status == 'COMPLETED' && steps.finance.status != 'IN_PROGRESS'\" }
";

on_every_backend! {
    async fn flows_say_what_starts_and_when_a_stage_is_over(backend: Backend) {
        let system = System::start(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(FLOWS).await;
        admin.publish_process(ASKING).await;
        let (bob, carol) = (system.caller("bob"), system.caller("carol"));

        let small = ann.submit("asking", json!({ "amount": 5 })).await.id;
        bob.approve(&ann.items_of(&small, &["bob"]).await[0]).await;
        let ended = ann.when_it_is(&small, SubmissionStatus::Approved).await;
        assert_eq!(step(&ended, "finance"), StepRunStatus::NotStarted);
        assert_eq!(ended.stages[0].steps[1].entry.as_ref().map(|entry| entry.flow.as_str()), Some("holds"));
        assert_eq!(ended.stages[0].exit.as_ref().and_then(|exit| exit.met), Some(true));
        verified_history(&system.store, &small).await;

        let large = ann.submit("asking", json!({ "amount": 50 })).await.id;
        let asked = ann
            .when(&large, "finance is asked", |submission| {
                step(submission, "finance") == StepRunStatus::InProgress
            })
            .await;
        assert_eq!(asked.stages[0].status(), StageRunStatus::InProgress);
        bob.approve(&ann.items_of(&large, &["bob"]).await[0]).await;
        carol.approve(&ann.items_of(&large, &["carol"]).await[0]).await;
        ann.when_it_is(&large, SubmissionStatus::Approved).await;
        verified_history(&system.store, &large).await;
        let jobs = admin.jobs().list(JobServiceListRequest::default()).await.unwrap().into_inner().jobs;
        assert!(jobs.is_empty(), "what was asked is over: {jobs:?}");
        system.end().await;
    }
}
