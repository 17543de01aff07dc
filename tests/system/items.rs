//! What can be done with a work item besides deciding it, through the API.

use quorate::proto::v1::{self, Assignee, AssigneeKind, StageRunStatus, SubmissionStatus, Verdict, WorkItem};
use serde_json::json;
use tonic::{Code, Status};

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, decision, facts, fields, reason, refused},
    on_every_backend,
    program::{printed, quorate},
    system::System,
};

/// The board shares what bob has edited, and may send it back.
const SHARED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: shared
record: { type: note }
stages:
  - name: draft
    steps: [{ name: edit, approval: { assign: [{ user: bob }] } }]
  - name: review
    steps:
      - name: sign
        approval: { assign: [{ group: board }], claim: { limit: 1h }, allow_reassign: true, send_back: { to: [draft] } }
";

/// A claim holds for a moment.
const SHORTLY: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: shortly
record: { type: note }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ group: board }], claim: { limit: 500ms } } }]
";

async fn claim_item(caller: &Caller, item: &WorkItem, request_id: &str) -> Result<WorkItem, Status> {
    let request = v1::WorkItemServiceClaimRequest { id: item.id.clone(), request_id: request_id.to_owned() };
    Ok(caller.work_items().claim(request).await?.into_inner().work_item.unwrap())
}

async fn release(caller: &Caller, item: &WorkItem) -> Result<WorkItem, Status> {
    let request = v1::WorkItemServiceReleaseRequest { id: item.id.clone(), ..Default::default() };
    Ok(caller.work_items().release(request).await?.into_inner().work_item.unwrap())
}

async fn reassign(caller: &Caller, item: &WorkItem, kind: AssigneeKind, name: &str) -> Result<WorkItem, Status> {
    let to = Some(Assignee { kind: kind.into(), name: name.to_owned() });
    let comment = "grace is away".to_owned();
    let request = v1::WorkItemServiceReassignRequest { id: item.id.clone(), to, comment, ..Default::default() };
    Ok(caller.work_items().reassign(request).await?.into_inner().work_item.unwrap())
}

async fn ask(caller: &Caller, item: &WorkItem, question: &str) -> Result<WorkItem, Status> {
    let (id, question) = (item.id.clone(), question.to_owned());
    let request = v1::WorkItemServiceRequestInformationRequest { id, question, ..Default::default() };
    Ok(caller.work_items().request_information(request).await?.into_inner().work_item.unwrap())
}

async fn answer(caller: &Caller, item: &WorkItem, answer: &str) -> Result<WorkItem, Status> {
    let (id, answer) = (item.id.clone(), answer.to_owned());
    let request = v1::WorkItemServiceAnswerInformationRequest { id, answer, ..Default::default() };
    Ok(caller.work_items().answer_information(request).await?.into_inner().work_item.unwrap())
}

fn send_back(item: &WorkItem, to: &str) -> v1::WorkItemServiceSendBackRequest {
    v1::WorkItemServiceSendBackRequest {
        id: item.id.clone(),
        to: to.to_owned(),
        comment: "clause 4 is missing".to_owned(),
        ..Default::default()
    }
}

/// A submission that bob has edited, and what asks the board.
async fn in_review(system: &System) -> (String, WorkItem) {
    system.caller("admin").publish_process(SHARED).await;
    let ann = system.caller("ann");
    let id = ann.submit("shared", json!({})).await.id;
    system.caller("bob").approve(&ann.item_of(&id).await).await;
    let item = ann.item_of(&id).await;
    (id, item)
}

on_every_backend! {
    async fn what_is_claimed_is_kept_for_its_claimer(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (id, item) = in_review(&system).await;
        let (grace, heidi) = (system.caller("grace"), system.caller("heidi"));
        let claimed = claim_item(&grace, &item, "c1").await.unwrap();
        assert_eq!(claimed.claimed_by, "grace");
        assert_eq!(claim_item(&grace, &item, "c1").await.unwrap(), claimed);

        let late = claim_item(&heidi, &item, "").await.unwrap_err();
        assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "CLAIMED_BY_ANOTHER"));
        assert_eq!(facts(&late)["by"], "grace");
        assert!(facts(&late).contains_key("until"));
        let decided = heidi.decide(decision(&item, Verdict::Approve, "", "")).await;
        assert_eq!(refused(decided).1, "CLAIMED_BY_ANOTHER");
        let listed = heidi.inbox().await.into_iter().find(|listed| listed.id == item.id).unwrap();
        assert_eq!((listed.claimed_by, listed.claimed_until), (claimed.claimed_by, claimed.claimed_until));

        assert_eq!(refused(release(&heidi, &item).await).1, "CLAIMED_BY_ANOTHER");
        assert_eq!(release(&system.caller("admin"), &item).await.unwrap().claimed_by, "");
        assert_eq!(refused(release(&grace, &item).await).1, "NOT_CLAIMED");
        assert_eq!(refused(claim_item(&system.caller("bob"), &item, "").await).1, "NOT_ASSIGNEE");
        heidi.approve(&item).await;
        assert_eq!(system.caller("ann").get(&id).await.status(), SubmissionStatus::Approved);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_claim_ends_by_itself(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(SHORTLY).await;
        let ann = system.caller("ann");
        let id = ann.submit("shortly", json!({})).await.id;
        let item = ann.item_of(&id).await;
        claim_item(&system.caller("grace"), &item, "").await.unwrap();
        let released = |submission: &v1::Submission| submission.stages[0].steps[0].work_items[0].claimed_by.is_empty();
        ann.when(&id, "the claim to end", released).await;
        let last = ann.events(&id).await.pop().unwrap();
        assert_eq!(last.kind, "WORK_ITEM_RELEASED");
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn somebody_else_is_asked_by_the_same_item(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (id, item) = in_review(&system).await;
        let (grace, dan) = (system.caller("grace"), system.caller("dan"));
        assert_eq!(refused(reassign(&dan, &item, AssigneeKind::User, "dan").await).1, "NOT_ASSIGNEE");
        let unfit = reassign(&grace, &item, AssigneeKind::User, "ann").await.unwrap_err();
        assert_eq!((reason(&unfit).as_str(), fields(&unfit)), ("ASSIGNEE_UNFIT", vec!["to".to_owned()]));
        let nobody = reassign(&grace, &item, AssigneeKind::Unspecified, "dan").await.unwrap_err();
        assert_eq!(fields(&nobody), ["to.kind"]);
        let moved = reassign(&grace, &item, AssigneeKind::User, "dan").await.unwrap();
        assert_eq!(moved.id, item.id);
        assert_eq!(moved.reason, "group board; reassigned from group:board by grace: grace is away");
        assert!(grace.inbox().await.iter().all(|open| open.id != item.id));
        let listed = dan.inbox().await.into_iter().find(|open| open.id == item.id).unwrap();
        assert_eq!(listed.reason, moved.reason);
        dan.approve(&listed).await;
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn the_submitter_is_asked_and_answers(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (id, item) = in_review(&system).await;
        let (ann, grace) = (system.caller("ann"), system.caller("grace"));
        let asked = ask(&grace, &item, "Which cost center?").await.unwrap();
        assert_eq!(asked.open_question.unwrap().question, "Which cost center?");
        let listed = system.caller("heidi").inbox().await.into_iter().find(|open| open.id == item.id).unwrap();
        assert_eq!(listed.open_question.unwrap().by, "grace");
        assert_eq!(refused(ask(&grace, &item, "And?").await).1, "QUESTION_OPEN");
        assert_eq!(fields(&answer(&ann, &item, " ").await.unwrap_err()), ["answer"]);
        assert_eq!(refused(answer(&system.caller("dan"), &item, "4711").await).1, "NOT_PERMITTED");
        let answered = answer(&ann, &item, "4711").await.unwrap();
        assert!(answered.open_question.is_none());
        let question = &answered.questions[0];
        assert_eq!((question.answered_by.as_str(), question.answer.as_str()), ("ann", "4711"));
        assert_eq!(refused(answer(&ann, &item, "4712").await).1, "NO_OPEN_QUESTION");
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn an_earlier_stage_runs_again_and_nothing_was_rejected(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (id, item) = in_review(&system).await;
        let (ann, grace) = (system.caller("ann"), system.caller("grace"));
        let unfit = grace.work_items().send_back(send_back(&item, "review")).await;
        assert_eq!(refused(unfit).1, "NOT_PERMITTED");
        let answer = grace.work_items().send_back(send_back(&item, "draft")).await.unwrap().into_inner();
        assert_eq!(answer.submission_status(), SubmissionStatus::InProgress);
        let submission = ann.get(&id).await;
        assert_eq!(submission.round, 2);
        let left = &submission.stages[1];
        assert_eq!(left.status(), StageRunStatus::Discontinued);
        assert_eq!(left.sent_back.as_ref().unwrap().comment, "clause 4 is missing");
        let again = grace.work_items().send_back(send_back(&item, "draft")).await;
        assert_eq!(refused(again).1, "WORK_ITEM_CLOSED");
        system.caller("bob").approve(&ann.item_of(&id).await).await;
        grace.approve(&ann.item_of(&id).await).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Approved);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn an_administrator_overrides_on_record(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let directory = "apiVersion: quorate/v1\nkind: Directory\nusers: [{ name: admin }]\n";
        system.caller("admin").apply_directory(directory).await;
        let (id, item) = in_review(&system).await;
        let overriding = v1::WorkItemServiceOverrideRequest {
            id: item.id.clone(),
            verdict: Verdict::Reject.into(),
            comment: "the board has said no".to_owned(),
            record_digest: item.record_digest.clone(),
            ..Default::default()
        };
        let grace = system.caller("grace").work_items().r#override(overriding.clone()).await;
        assert_eq!(refused(grace), (Code::PermissionDenied, "ROLE_MISSING".to_owned()));
        let admin = system.caller("admin");
        let both = v1::WorkItemServiceOverrideRequest { step: "sign".to_owned(), ..overriding.clone() };
        assert_eq!(fields(&admin.work_items().r#override(both).await.unwrap_err()), ["id"]);
        let answer = admin.work_items().r#override(overriding.clone()).await.unwrap().into_inner();
        assert_eq!(answer.submission_status(), SubmissionStatus::Rejected);
        let submission = system.caller("ann").get(&id).await;
        let decision = submission.stages[1].steps[0].overridden.clone().unwrap();
        assert_eq!((decision.actor.as_str(), decision.channel.as_str()), ("admin", "OVERRIDE"));
        assert!(decision.decided_at.is_some());
        let late = system.caller("grace").decide(crate::caller::decision(&item, Verdict::Approve, "", "")).await;
        assert_eq!(refused(late).1, "WORK_ITEM_CLOSED");
        verified_history(&system.store, &id).await;

        let own = admin.submit("shared", json!({})).await;
        let by_name = v1::WorkItemServiceOverrideRequest {
            id: String::new(),
            submission: own.id.clone(),
            step: "edit".to_owned(),
            record_digest: own.record.unwrap().digest,
            ..overriding
        };
        assert_eq!(refused(admin.work_items().r#override(by_name).await).1, "SEPARATION_OF_DUTIES");
        system.end().await;
    }

    async fn the_command_line_does_it_too(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (id, item) = in_review(&system).await;
        let server = format!("http://{}", system.server.address);
        let call = |who: &str, arguments: &[&str]| {
            let mut command = quorate();
            command.args(arguments).args(["--server", &server]).env("QUORATE_TOKEN", system.token(who));
            printed(&mut command)
        };
        let claimed = call("grace", &["claim", &item.id]);
        assert!(claimed.starts_with(&format!("{}: group:board, claimed by grace until ", item.id)), "{claimed}");
        let asked = call("grace", &["ask", &item.id, "Why?"]);
        assert!(asked.trim_end().ends_with("question of grace: Why?"), "{asked}");
        call("ann", &["answer", &item.id, "Because."]);
        let back = call("grace", &["send-back", &item.id, "--to", "draft", "--comment", "not yet"]);
        assert_eq!(back, format!("submission {id}: sent back to draft; IN_PROGRESS\n"));
        system.end().await;
    }
}
