//! `request_id`: a call that comes again changes nothing and gets its first answer; another call by its name is refused.

use futures::{StreamExt, future::join_all, stream};
use quorate::proto::v1::{
    DirectoryServicePutGroupRequest, DirectoryServicePutUserRequest, Group, SubmissionServiceCommentRequest,
    SubmissionStatus, User, Verdict,
};
use serde_json::json;
use tonic::Code;

use crate::{
    audit::{all_submissions, kinds, verified_history},
    backend::Backend,
    caller::{CALLS_AT_ONCE, decision, publish, refused, submit},
    definitions::{NOTE, purchase},
    on_every_backend,
    system::System,
};

/// How a call is refused whose id another one had.
fn reused() -> (Code, String) {
    (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
}

on_every_backend! {
    async fn a_repeated_submit_gives_the_first_answer(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        let first = ann.try_submit(submit("note", "r-1", &json!({ "n": 1 }))).await.unwrap();
        carol.approve(&carol.item_of(&first.id).await).await;
        assert_eq!(ann.get(&first.id).await.status(), SubmissionStatus::Approved);
        assert_eq!(ann.try_submit(submit("note", "r-1", &json!({ "n": 1 }))).await.unwrap(), first);
        assert_eq!(refused(ann.try_submit(submit("note", "r-1", &json!({ "n": 2 }))).await), reused());
        // The ids of another caller are their own.
        let other = system.caller("dan").try_submit(submit("note", "r-1", &json!({ "n": 2 }))).await.unwrap();
        assert_ne!(other.id, first.id);
        assert_eq!(all_submissions(&system.store).await.len(), 2);
        system.end().await;
    }

    async fn a_repeated_synchronous_submit_gives_the_first_answer(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        let first = ann.try_submit(submit("purchase-request", "r-1", &purchase(50.0))).await.unwrap();
        bob.approve(&bob.item_of(&first.id).await).await;
        ann.when_it_is(&first.id, SubmissionStatus::Approved).await;
        assert_eq!(ann.try_submit(submit("purchase-request", "r-1", &purchase(50.0))).await.unwrap(), first);
        system.end().await;
    }

    async fn concurrent_submits_of_one_request_make_one_submission(backend: Backend) {
        let system = System::start(backend).await;
        let ann = system.caller("ann");
        let answers = join_all((0..32).map(|_| ann.try_submit(submit("note", "r-1", &json!({ "n": 1 }))))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(all_submissions(&system.store).await, [answers[0].id.clone()]);
        assert_eq!(kinds(&verified_history(&system.store, &answers[0].id).await)[0], "SUBMITTED");
        system.end().await;
    }

    async fn a_repeated_decision_gives_the_first_answer(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        let id = ann.submit("note", json!({})).await.id;
        let item = carol.item_of(&id).await;
        let first = carol.decide(decision(&item, Verdict::Approve, "fine", "d-1")).await.unwrap();
        assert_eq!(carol.decide(decision(&item, Verdict::Approve, "fine", "d-1")).await.unwrap(), first);
        assert_eq!(refused(carol.decide(decision(&item, Verdict::Approve, "other", "d-1")).await), reused());
        // Without an id, or by another, it is a second decision.
        assert_eq!(refused(carol.decide(decision(&item, Verdict::Approve, "fine", "d-2")).await).1, "ALREADY_DECIDED");
        // The id of one method is not free for another.
        assert_eq!(refused(carol.try_submit(submit("note", "d-1", &json!({}))).await), reused());
        system.end().await;
    }

    async fn a_repeated_batch_gives_the_first_answers(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        let mut items = Vec::new();
        for _ in 0..3 {
            items.push(carol.item_of(&ann.submit("note", json!({})).await.id).await);
        }
        let approve = |items: &[_], comment: &str| items.iter().map(|item| decision(item, Verdict::Approve, comment, "")).collect::<Vec<_>>();
        // An id as long as ids may be.
        let id = "b".repeat(128);
        let first = carol.batch_decide(approve(&items, "fine"), &id).await.unwrap();
        assert!(first.iter().all(|result| result.error.is_none()), "{first:?}");
        assert_eq!(carol.batch_decide(approve(&items, "fine"), &id).await.unwrap(), first);
        assert_eq!(refused(carol.batch_decide(approve(&items, "other"), &id).await), reused());
        assert_eq!(refused(carol.batch_decide(approve(&items[..1], "fine"), &id).await), reused());
        system.end().await;
    }

    async fn a_repeated_publish_and_a_repeated_put_give_the_first_answers(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let publish_as = |request_id: &str, definition: &str| {
            let request =
                quorate::proto::v1::ProcessServicePublishRequest { request_id: request_id.into(), ..publish(definition) };
            let mut processes = admin.processes();
            async move { processes.publish(request).await.map(tonic::Response::into_inner) }
        };
        let publish = |definition: &str| publish_as("p-1", definition);
        let titled = |title: &str| NOTE.replace("name: note\n", &format!("name: note\ntitle: {title}\n"));
        let first = publish(&titled("one")).await.unwrap();
        assert_eq!(first.process.as_ref().unwrap().version, 2);
        assert_eq!(publish(&titled("one")).await.unwrap(), first);
        assert_eq!(refused(publish(&titled("two")).await), reused());
        // Also of a call that had nothing to change.
        publish_as("p-2", &titled("one")).await.unwrap();
        assert_eq!(refused(publish_as("p-2", &titled("two")).await), reused());
        let put_user = |manager: &str| {
            let user = User { name: "zoe".into(), manager: manager.into(), ..Default::default() };
            let request = DirectoryServicePutUserRequest { user: Some(user), request_id: "u-1".into() };
            let mut directory = admin.directory();
            async move { directory.put_user(request).await.map(tonic::Response::into_inner) }
        };
        let first = put_user("bob").await.unwrap();
        assert_eq!(put_user("bob").await.unwrap(), first);
        assert_eq!(refused(put_user("carol").await), reused());
        let group = Group { name: "zoes".into(), members: vec!["zoe".into()], ..Default::default() };
        let taken = DirectoryServicePutGroupRequest { group: Some(group), request_id: "u-1".into() };
        assert_eq!(refused(admin.directory().put_group(taken).await), reused());
        system.end().await;
    }

    async fn a_call_is_known_again_late_in_a_long_history(backend: Backend) {
        // More events than one page of the store holds.
        const COMMENTS: usize = 520;
        let system = System::start_without_worker(backend).await;
        let ann = system.caller("ann");
        let id = ann.submit("note", json!({})).await.id;
        let comment = |text: String, request_id: &str| {
            let request = SubmissionServiceCommentRequest { id: id.clone(), comment: text, request_id: request_id.into() };
            let mut submissions = ann.submissions();
            async move { submissions.comment(request).await.unwrap().into_inner().submission.unwrap() }
        };
        stream::iter(0..COMMENTS).map(|n| comment(n.to_string(), "")).buffered(CALLS_AT_ONCE).collect::<Vec<_>>().await;
        let last = comment("last".into(), "c-1").await;
        assert!(last.version > COMMENTS as u64);
        comment("one more".into(), "").await;
        assert_eq!(comment("last".into(), "c-1").await, last);
        verified_history(&system.store, &id).await;
        system.end().await;
    }
}
