//! A submission's way to each of its ends.

use quorate::proto::v1::{
    StageRunStatus, StepRunStatus, Submission, SubmissionServiceCancelRequest, SubmissionServiceRecallRequest,
    SubmissionStatus, Verdict, WorkItemStatus,
};
use serde_json::json;

use crate::{
    audit::{each_result_was_applied_once, kinds, open_jobs, verified_history},
    backend::Backend,
    caller::{decision, refused},
    definitions::purchase,
    on_every_backend,
    system::System,
};

/// The status of a step in a submission.
pub(crate) fn step(submission: &Submission, name: &str) -> StepRunStatus {
    let mut steps = submission.stages.iter().flat_map(|stage| &stage.steps);
    steps.rfind(|step| step.name == name).unwrap_or_else(|| panic!("no step `{name}`")).status()
}

fn stages(submission: &Submission) -> Vec<(&str, StageRunStatus)> {
    submission.stages.iter().map(|stage| (stage.name.as_str(), stage.status())).collect()
}

on_every_backend! {
    async fn a_purchase_is_approved_and_a_watch_sees_it(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        // The budget is checked synchronously: the answer shows its end and what follows.
        let submitted = ann.submit("purchase-request", purchase(50.0)).await;
        assert_eq!(submitted.status(), SubmissionStatus::InProgress);
        assert_eq!(submitted.summary, "ACME: 50");
        assert_eq!(step(&submitted, "check_budget"), StepRunStatus::Completed);
        assert_eq!(step(&submitted, "manager"), StepRunStatus::InProgress);
        assert_eq!(step(&submitted, "finance"), StepRunStatus::NotStarted);
        let mut watch = ann.watch(&submitted.id).await;
        assert_eq!(watch.next().await.unwrap(), submitted);
        let inbox = bob.inbox().await;
        assert_eq!(inbox.len(), 1);
        assert_eq!((&inbox[0].submission, inbox[0].submitter.as_str()), (&submitted.id, "ann"));
        assert_eq!(ann.inbox().await, []);
        let decided = bob.approve(&inbox[0]).await;
        assert_eq!(decided.status(), WorkItemStatus::Approved);
        assert_eq!(decided.decision.unwrap().actor, "bob");
        assert_eq!(bob.inbox().await, []);
        let seen = watch.up_to(|submission| submission.status() == SubmissionStatus::Approved).await;
        assert_eq!(watch.next().await, None);
        let versions: Vec<_> = seen.iter().map(|submission| submission.version).collect();
        assert!(submitted.version < versions[0] && versions.is_sorted_by(|one, other| one < other), "{versions:?}");
        let ended = ann.get(&submitted.id).await;
        assert_eq!(seen.last(), Some(&ended));
        assert_eq!(stages(&ended), [("review", StageRunStatus::Completed), ("book", StageRunStatus::Completed)]);
        assert_eq!(step(&ended, "create_order"), StepRunStatus::Completed);
        let events = verified_history(&system.store, &submitted.id).await;
        let mut kinds = kinds(&events);
        // Whether a worker's STARTED or its COMPLETED is heard of first is the queue's business.
        kinds.retain(|kind| kind != "JOB_STARTED");
        assert_eq!(
            kinds,
            [
                "SUBMITTED", "STAGE_STARTED", "STEP_STARTED", "JOB_SCHEDULED", "JOB_COMPLETED", "STEP_COMPLETED",
                "STEP_STARTED", "WORK_ITEM_ASSIGNED", "WORK_ITEM_DECIDED", "STEP_COMPLETED", "STAGE_COMPLETED",
                "STAGE_STARTED", "STEP_STARTED", "JOB_SCHEDULED", "JOB_COMPLETED", "STEP_COMPLETED",
                "STAGE_COMPLETED", "SUBMISSION_ENDED",
            ]
        );
        each_result_was_applied_once(&events);
        assert_eq!(open_jobs(&system.store).await, []);
        system.end().await;
    }

    async fn a_large_purchase_takes_two_of_finance_beside_the_manager(backend: Backend) {
        let system = System::start(backend).await;
        let submitted = system.caller("ann").submit("purchase-request", purchase(20_000.0)).await;
        for (name, step) in [("bob", "manager"), ("dan", "finance"), ("erin", "finance")] {
            let caller = system.caller(name);
            let item = caller.inbox().await.into_iter().find(|item| item.step == step);
            caller.approve(&item.unwrap_or_else(|| panic!("nothing of {step} for {name}"))).await;
        }
        let ended = system.caller("ann").when_it_is(&submitted.id, SubmissionStatus::Approved).await;
        let finance = ended.stages[0].steps.iter().find(|step| step.name == "finance").unwrap();
        let carol = finance.work_items.iter().find(|item| item.assignee.as_ref().unwrap().name == "carol").unwrap();
        assert_eq!(carol.status(), WorkItemStatus::Withdrawn);
        let approved = finance.work_items.iter().filter(|item| item.status() == WorkItemStatus::Approved).count();
        assert_eq!(approved, 2);
        let late = refused(system.caller("carol").decide(decision(carol, Verdict::Approve, "", "")).await);
        assert_eq!(late.1, "WORK_ITEM_CLOSED");
        verified_history(&system.store, &submitted.id).await;
        system.end().await;
    }

    async fn a_rejection_takes_the_rejection_path(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        let submitted = ann.submit("purchase-request", purchase(50.0)).await;
        let item = bob.item_of(&submitted.id).await;
        let silent = refused(bob.decide(decision(&item, Verdict::Reject, "", "")).await);
        assert_eq!(silent.1, "COMMENT_MISSING");
        bob.decide(decision(&item, Verdict::Reject, "too dear", "")).await.unwrap();
        let ended = ann.when_it_is(&submitted.id, SubmissionStatus::Rejected).await;
        assert_eq!(step(&ended, "tell_submitter"), StepRunStatus::Completed);
        assert_eq!(stages(&ended), [("review", StageRunStatus::Completed), ("rejection", StageRunStatus::Completed)]);
        verified_history(&system.store, &submitted.id).await;
        system.end().await;
    }

    async fn a_recall_closes_what_is_open_and_takes_the_recall_path(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        let submitted = ann.submit("purchase-request", purchase(50.0)).await;
        let item = bob.item_of(&submitted.id).await;
        let recall = SubmissionServiceRecallRequest { id: submitted.id.clone(), comment: "no longer".into(), ..Default::default() };
        assert_eq!(refused(bob.submissions().recall(recall.clone()).await).1, "NOT_PERMITTED");
        ann.submissions().recall(recall.clone()).await.unwrap();
        let ended = ann.when_it_is(&submitted.id, SubmissionStatus::Recalled).await;
        assert_eq!(step(&ended, "manager"), StepRunStatus::Canceled);
        assert_eq!(step(&ended, "release_budget"), StepRunStatus::Completed);
        assert_eq!(refused(bob.decide(decision(&item, Verdict::Approve, "", "")).await).1, "WORK_ITEM_CLOSED");
        assert_eq!(refused(ann.submissions().recall(recall).await).1, "SUBMISSION_ENDED");
        verified_history(&system.store, &submitted.id).await;
        system.end().await;
    }

    async fn an_administrator_cancels_and_the_job_goes(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        let submitted = ann.submit("waiting", json!({})).await;
        assert_eq!(open_jobs(&system.store).await.iter().map(|(_, count)| count).sum::<u64>(), 1);
        let cancel = SubmissionServiceCancelRequest { id: submitted.id.clone(), ..Default::default() };
        assert_eq!(refused(ann.submissions().cancel(cancel.clone()).await).1, "ROLE_MISSING");
        let ended = admin.submissions().cancel(cancel).await.unwrap().into_inner().submission.unwrap();
        assert_eq!(ended.status(), SubmissionStatus::Canceled);
        assert_eq!(step(&ended, "job"), StepRunStatus::Canceled);
        assert_eq!(open_jobs(&system.store).await, []);
        verified_history(&system.store, &submitted.id).await;
        // The queue of a flow that nobody serves was declared for the job.
        if let Some(broker) = &system.backend.broker {
            broker.corner().delete(&broker.corner().names.jobs_queue("nobody")).await;
        }
        system.end().await;
    }
}
