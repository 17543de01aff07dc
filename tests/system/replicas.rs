//! Two servers on one database and one broker.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use quorate::proto::v1::{StepRunStatus, SubmissionServiceListRequest, SubmissionStatus, Verdict};
use serde_json::json;

use crate::{
    approvals::step,
    audit::{all_submissions, each_result_was_applied_once, open_jobs, verified_history},
    backend::Backend,
    caller::{CALLS_AT_ONCE, Caller, decision, submit},
    definitions::purchase,
    queue_support::until,
    system::{Server, System},
};

/// How many submissions of a status there are.
async fn count(caller: &Caller, status: &str) -> usize {
    let mut request =
        SubmissionServiceListRequest { filter: format!("status = {status}"), page_size: 500, ..Default::default() };
    let mut count = 0;
    loop {
        let page = caller.submissions().list(request.clone()).await.unwrap().into_inner();
        count += page.submissions.len();
        if page.next_page_token.is_empty() {
            return count;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn two_servers_share_two_hundred_submissions() {
    const SUBMISSIONS: usize = 200;
    let system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let second = Server::start(&system.backend, &[]).await;
    let servers = [&system.server, &second];
    let anns = servers.map(|server| system.caller_at(server, "ann"));
    let bobs = servers.map(|server| system.caller_at(server, "bob"));
    let submitted: Vec<String> = stream::iter(0..SUBMISSIONS)
        .map(|n| {
            let ann = &anns[n % 2];
            async move { ann.try_submit(submit("two-jobs", &format!("r-{n}"), &json!({ "n": n }))).await.unwrap().id }
        })
        .buffered(CALLS_AT_ONCE)
        .collect()
        .await;
    assert_eq!(submitted.iter().collect::<BTreeSet<_>>().len(), SUBMISSIONS);
    // Each is decided at the server that it was not submitted to.
    stream::iter(submitted.iter().enumerate())
        .for_each_concurrent(CALLS_AT_ONCE, |(n, id)| {
            let bob = &bobs[(n + 1) % 2];
            async move {
                let item = bob.item_of(id).await;
                bob.decide(decision(&item, Verdict::Approve, "", &format!("d-{n}"))).await.unwrap();
            }
        })
        .await;
    until("the end of all", || async { (count(&anns[0], "APPROVED").await == SUBMISSIONS).then_some(()) }).await;
    assert_eq!(all_submissions(&system.store).await.len(), SUBMISSIONS);
    for id in &submitted {
        each_result_was_applied_once(&verified_history(&system.store, id).await);
    }
    assert_eq!(open_jobs(&system.store).await, []);
    assert!(second.program.stop().await.success());
    system.end().await;
}

#[tokio::test]
async fn a_watch_sees_what_the_other_server_commits() {
    let system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let second = Server::start(&system.backend, &[]).await;
    let (ann, bob) = (system.caller("ann"), system.caller_at(&second, "bob"));
    let submitted = ann.submit("purchase-request", purchase(50.0)).await;
    let mut watch = ann.watch(&submitted.id).await;
    watch.next().await.unwrap();
    bob.approve(&bob.item_of(&submitted.id).await).await;
    let seen = watch.up_to(|submission| submission.status() == SubmissionStatus::Approved).await;
    assert_eq!(watch.next().await, None);
    assert_eq!(seen.last().unwrap(), &bob.get(&submitted.id).await);
    assert!(second.program.stop().await.success());
    system.end().await;
}

#[tokio::test]
async fn a_synchronous_submit_returns_when_either_server_has_applied_the_report() {
    // Reports go to one of the two in turn, so that some of these are applied by the other.
    const SUBMISSIONS: usize = 12;
    let system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let second = Server::start(&system.backend, &[]).await;
    let ann = system.caller("ann");
    for _ in 0..SUBMISSIONS {
        let submitted = ann.submit("purchase-request", purchase(50.0)).await;
        assert_eq!(step(&submitted, "check_budget"), StepRunStatus::Completed);
        assert_eq!(step(&submitted, "manager"), StepRunStatus::InProgress);
    }
    assert!(second.program.stop().await.success());
    system.end().await;
}
