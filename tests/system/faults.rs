//! The broker goes away, forgets everything, or a worker dies: every submission ends all the same.

use futures::{StreamExt, future::join_all, stream};
use quorate::proto::v1::{SubmissionStatus, Verdict};
use serde_json::json;

use crate::{
    audit::{each_result_was_applied_once, open_jobs, verified_history},
    backend::{Backend, services},
    caller::{CALLS_AT_ONCE, Caller, decision},
    queue_support::until,
    system::{System, start_worker},
};

async fn submit_many(ann: &Caller, count: usize) -> Vec<String> {
    join_all((0..count).map(|n| async move { ann.submit("two-jobs", json!({ "n": n })).await.id })).await
}

/// Approves all, and waits for the end of each.
async fn bring_to_an_end(system: &System, ids: &[String]) {
    let (ann, bob) = (system.caller("ann"), system.caller("bob"));
    stream::iter(ids)
        .for_each_concurrent(CALLS_AT_ONCE, |id| {
            let (ann, bob) = (&ann, &bob);
            async move {
                let item = bob.item_of(id).await;
                bob.decide(decision(&item, Verdict::Approve, "", "")).await.unwrap();
                ann.when_it_is(id, SubmissionStatus::Approved).await;
            }
        })
        .await;
    for id in ids {
        each_result_was_applied_once(&verified_history(&system.store, id).await);
    }
    assert_eq!(open_jobs(&system.store).await, []);
}

/// With the shortest interval after which a published job that nobody started is published again.
async fn system_of_a_broker_alone() -> System {
    let mut system = System::start(Backend::with_the_broker_alone().await).await;
    system.restart_server(&["--redelivery-interval", "1"]).await;
    system
}

#[tokio::test]
async fn a_server_accepts_submissions_while_the_broker_is_dead_and_all_end_when_it_is_back() {
    let system = system_of_a_broker_alone().await;
    let ann = system.caller("ann");
    let mut ids = submit_many(&ann, 20).await;
    tokio::task::spawn_blocking(|| services(&["kill", "rabbitmq"])).await.unwrap();
    ids.extend(submit_many(&ann, 20).await);
    assert!(!open_jobs(&system.store).await.is_empty());
    tokio::task::spawn_blocking(|| services(&["start", "rabbitmq"])).await.unwrap();
    bring_to_an_end(&system, &ids).await;
    system.end().await;
}

#[tokio::test]
async fn a_broker_that_forgot_everything_is_told_again() {
    let mut system = system_of_a_broker_alone().await;
    let ann = system.caller("ann");
    // Nobody takes the jobs: all of them are the broker's when it forgets them.
    system.stop_worker().await;
    let ids = submit_many(&ann, 20).await;
    until("the publishing of all", || async {
        let jobs = open_jobs(&system.store).await;
        (jobs == [(quorate_engine::status::JobStatus::Published, 20)]).then_some(())
    })
    .await;
    tokio::task::spawn_blocking(|| {
        services(&["wipe", "rabbitmq"]);
        services(&["start", "rabbitmq"])
    })
    .await
    .unwrap();
    system.start_own_worker();
    bring_to_an_end(&system, &ids).await;
    system.end().await;
}

#[tokio::test]
async fn the_jobs_of_a_killed_worker_go_to_the_next() {
    let mut system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let ann = system.caller("ann");
    system.stop_worker().await;
    let mut worker = start_worker(&system.backend, "echo");
    let ids = join_all((0..40).map(|_| async { ann.submit("sleepy", json!({})).await.id })).await;
    // It sleeps over each for an hour; the next worker does not.
    until("jobs in hand", || async {
        let jobs = open_jobs(&system.store).await;
        jobs.iter().any(|(status, _)| *status == quorate_engine::status::JobStatus::Running).then_some(())
    })
    .await;
    worker.kill();
    system.start_own_worker();
    bring_to_an_end(&system, &ids).await;
    system.end().await;
}
