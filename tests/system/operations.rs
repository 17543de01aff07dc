//! What administrators do with submissions under way, through the API.

use quorate::proto::v1::{self, StageRunStatus, Submission, SubmissionStatus, WorkItemStatus};
use serde_json::json;
use tonic::{Code, Status};

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, decision, fields, reason, refused, submit},
    on_every_backend,
    system::System,
};

/// A step that fails once, then is tried again soon; an approval beside it, and another stage.
const HELD: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: held
record: { type: note }
stages:
  - name: work
    steps:
      - name: job
        background: { flow: fail, execution: async, input: { times: \"1.0\" }, retry: { initial_interval: 1s, jitter: 0.0 } }
      - { name: approve, approval: { assign: [{ user: bob }] } }
  - name: sign
    steps: [{ name: second, approval: { assign: [{ user: carol }] } }]
";

async fn suspend(caller: &Caller, id: &str) -> Result<Submission, Status> {
    let request = v1::SubmissionServiceSuspendRequest { id: id.to_owned(), ..Default::default() };
    Ok(caller.submissions().suspend(request).await?.into_inner().submission.unwrap())
}

async fn resume(caller: &Caller, id: &str) -> Result<Submission, Status> {
    let request = v1::SubmissionServiceResumeRequest { id: id.to_owned(), ..Default::default() };
    Ok(caller.submissions().resume(request).await?.into_inner().submission.unwrap())
}

async fn go_to(caller: &Caller, id: &str, stage: &str) -> Result<Submission, Status> {
    let request = v1::SubmissionServiceGoToStageRequest {
        id: id.to_owned(),
        stage: stage.to_owned(),
        comment: "as agreed".to_owned(),
        ..Default::default()
    };
    Ok(caller.submissions().go_to_stage(request).await?.into_inner().submission.unwrap())
}

async fn open_jobs(caller: &Caller, submission: &str) -> Vec<v1::OpenJob> {
    let request = v1::JobServiceListRequest { filter: format!("submission = {submission}"), ..Default::default() };
    caller.jobs().list(request).await.unwrap().into_inner().jobs
}

/// A step and an approval, and another version in which they are called otherwise.
const MOVED: [&str; 2] = [
    "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: moved
record: { type: note }
stages:
  - name: work
    steps: [{ name: approve, approval: { assign: [{ user: bob }] } }]
  - name: book
    steps: [{ name: entry, background: { flow: echo, execution: sync } }]
",
    "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: moved
record: { type: note }
stages:
  - name: review
    steps:
      - { name: agree, approval: { assign: [{ user: bob }] } }
      - { name: legal, approval: { assign: [{ user: carol }] } }
  - name: book
    steps: [{ name: entry, background: { flow: echo, execution: sync } }]
",
];

fn move_to(
    id: &str,
    stages: &[(&str, &str)],
    steps: &[(&str, &str)],
    validate_only: bool,
) -> v1::SubmissionServiceMigrateSubmissionRequest {
    let names =
        |names: &[(&str, &str)]| names.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
    v1::SubmissionServiceMigrateSubmissionRequest {
        id: id.to_owned(),
        to_version: 2,
        stages: names(stages),
        steps: names(steps),
        validate_only,
        ..Default::default()
    }
}

on_every_backend! {
    async fn a_preview_tells_who_would_be_asked_and_stores_nothing(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        admin.publish_process(MOVED[0]).await;
        let look = |definition: &str| v1::ProcessServicePreviewRequest {
            name: if definition.is_empty() { "moved".into() } else { String::new() },
            definition: definition.to_owned(),
            ..Default::default()
        };
        let told = ann.processes().preview(look("")).await.unwrap().into_inner();
        let text = |line: &v1::PreviewLine| line.explanation.as_ref().unwrap().text.clone();
        let texts: Vec<_> = told.lines.iter().map(text).collect();
        assert!(texts.contains(&"bob is asked in step approve, because: user bob".to_owned()), "{texts:#?}");
        assert_eq!((told.status(), told.stopped.as_str()), (SubmissionStatus::Approved, ""));
        let next = ann.processes().preview(look(MOVED[1])).await.unwrap().into_inner();
        assert!(next.lines.iter().map(text).any(|text| text.contains("carol is asked in step legal")));
        let of_another = v1::ProcessServicePreviewRequest { submitter: "bob".into(), ..look("") };
        assert_eq!(refused(ann.processes().preview(of_another.clone()).await), (Code::PermissionDenied, "ROLE_MISSING".into()));
        // Bob may not decide on what is his own.
        let own = admin.processes().preview(of_another).await.unwrap().into_inner();
        assert_eq!(own.status(), SubmissionStatus::Error);
        let list = v1::SubmissionServiceListRequest::default();
        assert!(ann.submissions().list(list).await.unwrap().into_inner().submissions.is_empty());
        system.end().await;
    }

    async fn a_flow_is_bound_when_its_step_starts_and_versions_matter_to_new_submissions_only(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        admin.publish_process(MOVED[0]).await;
        let id = ann.submit("moved", json!({})).await.id;
        // Another version of the flow, and no version of the process for those who come later.
        admin.publish_flows("apiVersion: quorate/v1\nkind: Flow\nname: echo\ntype: autolaunched\noutput: { type: object }\ncode: {}\n").await;
        let deactivate = v1::ProcessServiceDeactivateRequest { name: "moved".into(), ..Default::default() };
        admin.processes().deactivate(deactivate).await.unwrap();
        let late = ann.try_submit(submit("moved", "", &json!({}))).await;
        assert_eq!(refused(late), (Code::FailedPrecondition, "PROCESS_NOT_ACTIVE".into()));
        system.caller("bob").approve(&ann.item_of(&id).await).await;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let entry = &ended.stages[1].steps[0];
        assert_eq!((entry.name.as_str(), entry.flow.as_str(), entry.flow_version), ("entry", "echo", 2));
        let activate = v1::ProcessServiceActivateRequest { name: "moved".into(), version: 1, ..Default::default() };
        admin.processes().activate(activate).await.unwrap();
        assert_eq!(ann.submit("moved", json!({})).await.process_version, 1);
        system.end().await;
    }

    async fn a_submission_stays_on_its_version_until_it_is_moved(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        admin.publish_process(MOVED[0]).await;
        let id = ann.submit("moved", json!({})).await.id;
        let item = system.caller("bob").item_of(&id).await;
        admin.publish_process(MOVED[1]).await;
        assert_eq!((ann.get(&id).await.process_version, ann.submit("moved", json!({})).await.process_version), (1, 2));

        let unmapped = admin.submissions().migrate_submission(move_to(&id, &[], &[], false)).await.unwrap_err();
        assert_eq!((unmapped.code(), reason(&unmapped).as_str()), (Code::InvalidArgument, "MIGRATION_UNFIT"));
        assert_eq!(fields(&unmapped), ["stages.work"]);
        let (stages, steps) = ([("work", "review")], [("approve", "agree")]);
        let not_permitted = ann.submissions().migrate_submission(move_to(&id, &stages, &steps, true)).await;
        assert_eq!(refused(not_permitted), (Code::PermissionDenied, "ROLE_MISSING".into()));

        let before = ann.events(&id).await.len();
        let tried = admin.submissions().migrate_submission(move_to(&id, &stages, &steps, true)).await.unwrap().into_inner();
        let kinds: Vec<_> = tried.events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["SUBMISSION_MIGRATED", "STEP_STARTED", "WORK_ITEM_ASSIGNED"]);
        assert_eq!(tried.submission.unwrap().process_version, 2);
        assert_eq!((ann.get(&id).await.process_version, ann.events(&id).await.len()), (1, before), "it was stored");

        let request = v1::SubmissionServiceExplainRequest { id: id.clone(), step: "approve".into(), ..Default::default() };
        let told = ann.submissions().explain(request).await.unwrap().into_inner().explanations;
        let texts: Vec<_> = told.iter().map(|one| one.text.as_str()).collect();
        let asked = "bob is asked in step approve, because: user bob";
        assert_eq!(texts, ["stage work started", "step approve started with its stage", asked]);
        assert_eq!(told[2].work_item, item.id);
        let unknown = v1::SubmissionServiceExplainRequest { id: id.clone(), step: "agree".into(), ..Default::default() };
        assert_eq!(refused(ann.submissions().explain(unknown).await), (Code::NotFound, "NOT_FOUND".into()));

        let moved = admin.submissions().migrate_submission(move_to(&id, &stages, &steps, false)).await.unwrap();
        assert_eq!(moved.into_inner().submission.unwrap().process_version, 2);
        let items = ann.items_of(&id, &["bob", "carol"]).await;
        assert_eq!((items[0].id.as_str(), items[0].step.as_str(), items[0].stage.as_str()), (item.id.as_str(), "agree", "review"));
        system.caller("bob").approve(&items[0]).await;
        system.caller("carol").approve(&items[1]).await;
        assert_eq!(ann.when_it_is(&id, SubmissionStatus::Approved).await.stages[0].name, "review");
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn what_fails_while_a_submission_is_suspended_is_tried_again_when_it_goes_on(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(HELD).await;
        let (ann, bob, admin) = (system.caller("ann"), system.caller("bob"), system.caller("admin"));
        let id = ann.submit("held", json!({})).await.id;
        let item = bob.item_of(&id).await;
        assert_eq!(refused(suspend(&ann, &id).await), (Code::PermissionDenied, "ROLE_MISSING".into()));
        let held = suspend(&admin, &id).await.unwrap();
        assert_eq!((held.status(), held.stages[0].status()), (SubmissionStatus::Suspended, StageRunStatus::Suspended));
        // The first attempt had been sent out. It fails, and the next is due soon; but it is held.
        system.start_own_worker();
        ann.when(&id, "the second attempt to be held", |submission| submission.stages[0].steps[0].attempt == 2).await;
        let early = bob.decide(decision(&item, v1::Verdict::Approve, "", "")).await;
        assert_eq!(refused(early), (Code::FailedPrecondition, "SUBMISSION_STATUS_UNFIT".into()));
        assert!(open_jobs(&admin, &id).await.is_empty(), "the relay may find the next attempt");
        resume(&admin, &id).await.unwrap();
        bob.approve(&item).await;
        ann.when(&id, "the next stage", |submission| submission.stages.len() == 2).await;
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_submission_goes_on_with_the_stage_that_an_administrator_names(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(HELD).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        let id = ann.submit("held", json!({})).await.id;
        let nowhere = go_to(&admin, &id, "nowhere").await.unwrap_err();
        assert_eq!((nowhere.code(), reason(&nowhere).as_str()), (Code::InvalidArgument, "STAGE_UNKNOWN"));
        assert_eq!(fields(&nowhere), ["stage"]);
        assert_eq!(refused(go_to(&ann, &id, "sign").await), (Code::PermissionDenied, "ROLE_MISSING".into()));
        let there = go_to(&admin, &id, "sign").await.unwrap();
        let stages: Vec<_> = there.stages.iter().map(|stage| (stage.name.as_str(), stage.status())).collect();
        assert_eq!(stages, [("work", StageRunStatus::Discontinued), ("sign", StageRunStatus::InProgress)]);
        assert_eq!(there.stages[0].steps[1].work_items[0].status(), WorkItemStatus::Withdrawn);
        let moved = ann.events(&id).await.into_iter().find(|event| event.kind == "MOVED_TO_STAGE").unwrap();
        assert_eq!(moved.body.unwrap().fields["comment"], prost_types::Value::from("as agreed"));
        system.caller("carol").approve(&ann.item_of(&id).await).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Approved);
        verified_history(&system.store, &id).await;
        system.end().await;
    }
}
