//! Votes that weigh, vetoes and abstentions, and whom a record or a submitter names, through the API.

use std::collections::BTreeMap;

use quorate::proto::v1::{Choice, StepRunStatus, SubmissionStatus, Verdict, WorkItemStatus};
use serde_json::json;
use tonic::Code;

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{decision, fields, reason, refused, submit},
    on_every_backend,
    program::{printed, quorate},
    system::System,
};

/// Bob weighs three, and each of the board one; grace holds a veto.
const WEIGHED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: weighed
record: { type: note }
stages:
  - name: review
    steps:
      - name: sign
        approval:
          assign: [{ user: bob, weight: 3 }, { group: board }]
          decision: { weight: 4, veto_by: [{ user: grace }], abstain: true }
";

/// All of whom the record names, who may abstain.
const NAMED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: named
record:
  type: note
  schema: { type: object, properties: { reviewers: { type: array, items: { type: string } } } }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ expression: record.reviewers }], decision: { all: true, abstain: true } } }]
";

/// The submitter chooses who decides, and may decide themselves.
const CHOSEN: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: chosen
record: { type: note }
stages:
  - name: review
    steps:
      - name: sign
        approval:
          assign: [{ chosen_by_submitter: true, from: [{ group: board }, { user: ann }] }]
          decision: all
          allow_submitter: true
";

fn choosing(step: &str, users: &[&str]) -> BTreeMap<String, Choice> {
    let users = users.iter().map(|user| (*user).to_owned()).collect();
    BTreeMap::from([(step.to_owned(), Choice { users })])
}

on_every_backend! {
    async fn votes_weigh_and_who_abstains_is_not_counted(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(WEIGHED).await;
        let ann = system.caller("ann");
        let id = ann.submit("weighed", json!({})).await.id;
        let items = ann.items_of(&id, &["bob", "heidi", "ivan", "grace"]).await;
        let weights: Vec<_> = items.iter().map(|item| (item.weight, item.veto)).collect();
        assert_eq!(weights, [(3, false), (1, false), (1, false), (1, true)]);
        let heidi = system.caller("heidi");
        let item = heidi.decide(decision(&items[1], Verdict::Abstain, "", "")).await.unwrap();
        assert_eq!(item.status(), WorkItemStatus::Abstained);
        assert_eq!(item.decision.unwrap().verdict(), Verdict::Abstain);
        let again = heidi.decide(decision(&items[1], Verdict::Approve, "", "")).await;
        assert_eq!(refused(again), (Code::FailedPrecondition, "ALREADY_DECIDED".to_owned()));
        system.caller("bob").approve(&items[0]).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::InProgress);
        system.caller("ivan").approve(&items[2]).await;
        let ended = ann.get(&id).await;
        assert_eq!(ended.status(), SubmissionStatus::Approved);
        let stored = &ended.stages[0].steps[0].work_items;
        assert_eq!(stored.iter().filter(|item| item.status() == WorkItemStatus::Withdrawn).count(), 1);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_veto_settles_it_whatever_the_others_say(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(WEIGHED).await;
        let ann = system.caller("ann");
        let id = ann.submit("weighed", json!({})).await.id;
        let items = ann.items_of(&id, &["bob", "grace"]).await;
        system.caller("bob").approve(&items[0]).await;
        system.caller("grace").decide(decision(&items[1], Verdict::Reject, "never", "")).await.unwrap();
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Rejected);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn whom_the_record_names_is_asked_and_all_abstaining_rejects(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let wrong = NAMED.replace("expression: record.reviewers", "expression: size(record.reviewers)");
        let refused_at = admin.processes().publish(crate::caller::publish(&wrong)).await.unwrap_err();
        assert_eq!(reason(&refused_at), "DEFINITION_INVALID");
        assert!(fields(&refused_at)[0].ends_with("stages[0].steps[0].approval.assign[0].expression"));
        admin.publish_process(NAMED).await;
        let ann = system.caller("ann");
        let id = ann.submit("named", json!({ "reviewers": ["bob", "group:board"] })).await.id;
        let everybody = ["bob", "grace", "heidi", "ivan"];
        let items = ann.items_of(&id, &everybody).await;
        assert_eq!(items[1].reason, "expression record.reviewers: group board: member grace");
        for (name, item) in everybody.iter().zip(&items) {
            system.caller(name).decide(decision(item, Verdict::Abstain, "", "")).await.unwrap();
        }
        let ended = ann.get(&id).await;
        assert_eq!(ended.status(), SubmissionStatus::Rejected);
        let nobody = ann.submit("named", json!({ "reviewers": ["nobody"] })).await;
        assert_eq!(nobody.failure.unwrap().reason, "NO_APPROVERS");
        system.end().await;
    }

    async fn who_may_not_abstain_is_told_so(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        let item = carol.item_of(&ann.submit("note", json!({})).await.id).await;
        let status = carol.decide(decision(&item, Verdict::Abstain, "", "")).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "ABSTENTION_NOT_ALLOWED"));
        assert_eq!(fields(&status), ["verdict"]);
        assert_eq!(ann.get(&item.submission).await.status(), SubmissionStatus::InProgress);
        system.end().await;
    }

    async fn the_submitter_chooses_and_what_they_cannot_choose_is_refused(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(CHOSEN).await;
        let ann = system.caller("ann");
        let choose = async |choices| {
            let mut request = submit("chosen", "", &json!({}));
            request.choices = choices;
            let status = ann.try_submit(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            format!("{} {}", reason(&status), fields(&status).join(" "))
        };
        assert_eq!(choose(BTreeMap::new()).await, "CHOICE_MISSING choices.sign");
        assert_eq!(choose(choosing("sign", &[])).await, "CHOICE_MISSING choices.sign");
        assert_eq!(choose(choosing("other", &["ann"])).await, "CHOICE_INVALID choices.other");
        assert_eq!(choose(choosing("sign", &["ann", "nobody"])).await, "CHOICE_INVALID choices.sign[1]");
        assert_eq!(choose(choosing("sign", &["bob"])).await, "CHOICE_INVALID choices.sign[0]");
        assert_eq!(choose(choosing("sign", &["a\0b"])).await, "INVALID_FIELD choices.sign[0]");
        let many = (0..101).map(|step| (step.to_string(), Choice::default())).collect();
        assert_eq!(choose(many).await, "INVALID_FIELD choices");

        let mut request = submit("chosen", "choose-1", &json!({}));
        request.choices = choosing("sign", &["grace", "ann"]);
        let submitted = ann.try_submit(request.clone()).await.unwrap();
        assert_eq!(ann.try_submit(request.clone()).await.unwrap().id, submitted.id, "the same call, again");
        request.choices = choosing("sign", &["ann", "grace"]);
        assert_eq!(refused(ann.try_submit(request).await), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        let items = ann.items_of(&submitted.id, &["grace", "ann"]).await;
        assert_eq!(items[0].reason, "chosen by ann: user grace");
        ann.approve(&items[1]).await;
        system.caller("grace").approve(&items[0]).await;
        let ended = ann.get(&submitted.id).await;
        assert_eq!(ended.status(), SubmissionStatus::Approved);
        assert_eq!(ended.stages[0].steps[0].status(), StepRunStatus::Completed);
        verified_history(&system.store, &submitted.id).await;
        system.end().await;
    }

    async fn the_command_line_chooses_and_abstains(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        admin.publish_process(&CHOSEN.replace("decision: all", "decision: { all: true, abstain: true }")).await;
        let server = format!("http://{}", system.server.address);
        let call = |user: &str, arguments: &[&str]| {
            let mut command = quorate();
            command.args(["--server", &server, "--token", &system.token(user), "-o", "json"]).args(arguments);
            serde_json::from_str::<serde_json::Value>(&printed(&mut command)).unwrap()
        };
        let submit = ["submit", "chosen", "--record-id", "1", "--data", "{}", "--choose", "sign=grace,ann"];
        let submitted = call("ann", &submit);
        let id = submitted["id"].as_str().unwrap();
        let items = admin.items_of(id, &["grace", "ann"]).await;
        let abstained = call("grace", &["abstain", &items[0].id]);
        assert_eq!(abstained["work_item"]["status"], "WORK_ITEM_STATUS_ABSTAINED");
        let approved = call("ann", &["approve", &items[1].id]);
        assert_eq!(approved["submission_status"], "SUBMISSION_STATUS_APPROVED");
        system.end().await;
    }
}
