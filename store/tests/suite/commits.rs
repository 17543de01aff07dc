//! What a commit stores, and when it stores nothing.

use std::time::Duration;

use quorate_engine::{
    id::SubmissionId,
    projection::project,
    state::{Assignee, Verdict},
    status::{JobStatus, StepRunStatus},
};
use quorate_store::{
    StoreError,
    log::verify,
    store::{RequestKey, RequestRow, Wanted},
};
use uuid::Uuid;

use crate::{
    fixture::{Database, Fixture},
    states::{Run, after, batch, comment, odd_event, start, tenant},
};

fn bob() -> Assignee {
    Assignee::User("bob".to_owned())
}

fn request(id: &str) -> RequestRow {
    RequestRow {
        key: RequestKey { tenant: tenant(), principal: "ann".to_owned(), request_id: id.to_owned() },
        digest: [7; 32],
        submission: Some(SubmissionId(Uuid::now_v7())),
        version: 3,
        answer: Some(vec![0, 1, 255]),
        at: start(),
    }
}

pub(crate) async fn what_is_committed_is_loaded_as_it_was(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    let kinds = vec![odd_event(&run), comment("ein Wort 😀")];
    let first = run.next(kinds);
    let events = first.events.clone();
    let mut commit = batch(vec![first], start());
    commit.requests = vec![request("r1")];
    on.store.commit(&commit).await.unwrap();

    let unknown = SubmissionId(Uuid::now_v7());
    let wanted = Wanted {
        submissions: vec![(tenant(), unknown), (tenant(), run.id())],
        requests: vec![request("r1").key, request("r2").key],
        tenants: vec![tenant()],
    };
    let loaded = on.other.load(&wanted).await.unwrap();
    assert_eq!(loaded.histories.len(), 1);
    assert_eq!(loaded.histories[0].submission, run.id());
    assert_eq!(loaded.histories[0].events, events);
    verify(run.id(), &loaded.histories[0].events).unwrap();
    assert_eq!(loaded.histories[0].events[0].to_event().unwrap().kind, odd_event(&run));
    assert_eq!(loaded.requests, commit.requests);
    assert_eq!(loaded.catalog_versions, [(tenant(), 0)]);
    assert_eq!(on.store.versions(&[(tenant(), run.id()), (tenant(), unknown)]).await.unwrap(), [(run.id(), 2)]);

    let nothing = on.store.load(&Wanted::default()).await.unwrap();
    assert!(nothing.histories.is_empty() && nothing.requests.is_empty() && nothing.catalog_versions.is_empty());
}

pub(crate) async fn a_changed_event_is_found(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    let kinds = vec![odd_event(&run), comment("no"), comment("more")];
    let commit = run.next(kinds);
    on.store.commit(&batch(vec![commit], start())).await.unwrap();
    on.database.run("update event set body = '{\"by\":\"ann\",\"comment\":\"yes\"}' where seq = 2").await;
    let events = on.store.history(&tenant(), run.id(), 0, 10).await.unwrap();
    assert_eq!(verify(run.id(), &events), Err(2));
}

pub(crate) async fn the_stored_rows_are_the_projection_of_the_state(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    run.commit(&*on.store, start()).await.unwrap();
    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), Some(project(&run.state)));
    run.start_job(after(1));
    run.approve(after(2));
    run.state.stage_runs[0].awaits_time = true;
    run.commit(&*on.store, after(2)).await.unwrap();
    assert_eq!(on.other.projection(&tenant(), run.id()).await.unwrap(), Some(project(&run.state)));
    assert_eq!(on.store.projection(&tenant(), SubmissionId(Uuid::now_v7())).await.unwrap(), None);
}

pub(crate) async fn an_abstention_is_a_decision(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    run.commit(&*on.store, start()).await.unwrap();
    run.abstain(after(1));
    run.commit(&*on.store, after(1)).await.unwrap();
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert_eq!(stored, project(&run.state));
    assert_eq!(stored.decisions.values().map(|row| row.verdict).collect::<Vec<_>>(), [Verdict::Abstain]);
}

pub(crate) async fn claims_questions_and_overrides_are_stored(on: Fixture) {
    let mut run = Run::new("purchase", Assignee::Group("finance".to_owned()));
    run.commit(&*on.store, start()).await.unwrap();
    run.claim_and_ask(after(1));
    run.commit(&*on.store, after(1)).await.unwrap();
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert_eq!(stored, project(&run.state));
    let item = stored.work_items.values().next().unwrap();
    assert_eq!((item.claimed_until, item.question_at), (Some(after(3_600)), Some(after(1))));
    run.override_step(after(2));
    run.commit(&*on.store, after(2)).await.unwrap();
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert_eq!(stored, project(&run.state));
    assert!(stored.step_runs.values().any(|step| step.overridden_by.is_some()));
}

pub(crate) async fn a_finished_job_leaves(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    run.commit(&*on.store, start()).await.unwrap();
    run.job().status = JobStatus::Completed;
    run.step(0).status = StepRunStatus::Completed;
    run.commit(&*on.store, after(1)).await.unwrap();
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert!(stored.jobs.is_empty());
    assert_eq!(stored, project(&run.state));
}

pub(crate) async fn a_stale_replica_is_refused_and_leaves_nothing_behind(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    run.commit(&*on.store, start()).await.unwrap();
    let mut stale = run.clone();
    run.commit(&*on.store, after(1)).await.unwrap();
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap();

    stale.approve(after(2));
    let mut commit = batch(vec![stale.next(vec![comment("late"), comment("too late")])], after(2));
    commit.requests = vec![request("late")];
    assert!(matches!(on.other.commit(&commit).await, Err(StoreError::Conflict)));

    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), stored);
    assert_eq!(on.store.history(&tenant(), run.id(), 0, 10).await.unwrap().len(), 2);
    assert_eq!(on.store.request(&request("late").key).await.unwrap(), None);
    run.commit(&*on.other, after(3)).await.unwrap();
}

pub(crate) async fn one_conflict_rolls_the_whole_batch_back(on: Fixture) {
    let mut held = Run::new("purchase", bob());
    held.commit(&*on.store, start()).await.unwrap();
    let mut stale = held.clone();
    held.commit(&*on.store, after(1)).await.unwrap();

    let mut fresh = Run::new("purchase", bob());
    let commit = batch(vec![fresh.next(vec![comment("new")]), stale.next(vec![comment("stale")])], after(2));
    assert!(matches!(on.store.commit(&commit).await, Err(StoreError::Conflict)));
    assert_eq!(on.store.projection(&tenant(), fresh.id()).await.unwrap(), None);
    assert!(on.store.history(&tenant(), fresh.id(), 0, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_submission_is_made_once(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    let mut twin = run.clone();
    run.commit(&*on.store, start()).await.unwrap();
    assert!(matches!(twin.commit(&*on.other, start()).await, Err(StoreError::Conflict)));
}

pub(crate) async fn a_request_is_answered_once(on: Fixture) {
    let mut first = batch(Vec::new(), start());
    first.requests = vec![request("a"), request("b")];
    on.store.commit(&first).await.unwrap();
    assert_eq!(on.store.request(&first.requests[1].key).await.unwrap().as_ref(), Some(&first.requests[1]));

    let mut run = Run::new("purchase", bob());
    let mut again = batch(vec![run.next(vec![comment("again")])], start());
    again.requests = vec![request("c"), request("b")];
    assert!(matches!(on.other.commit(&again).await, Err(StoreError::Conflict)));
    assert_eq!(on.store.request(&request("c").key).await.unwrap(), None);
    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), None);
}

pub(crate) async fn requests_are_forgotten_oldest_first(on: Fixture) {
    let mut commit = batch(Vec::new(), start());
    commit.requests = (0..5).map(|age| RequestRow { at: after(age), ..request(&age.to_string()) }).collect();
    on.store.commit(&commit).await.unwrap();
    assert_eq!(on.store.forget_requests(after(4), 3).await.unwrap(), 3);
    assert_eq!(on.store.forget_requests(after(4), 3).await.unwrap(), 1);
    assert_eq!(on.store.forget_requests(after(4), 3).await.unwrap(), 0);
    assert_eq!(on.store.request(&request("3").key).await.unwrap(), None);
    assert!(on.store.request(&request("4").key).await.unwrap().is_some());
}

pub(crate) async fn two_replicas_that_commit_the_same_submissions_do_not_wait_for_each_other_for_ever(on: Fixture) {
    let mut runs: Vec<Run> = (0..20).map(|_| Run::new("purchase", bob())).collect();
    let made = runs.iter_mut().map(|run| run.next(vec![comment("new")])).collect();
    on.store.commit(&batch(made, start())).await.unwrap();
    for round in 0..10 {
        let commits: Vec<_> = runs.iter_mut().map(|run| run.next(vec![comment("next")])).collect();
        let one = batch(commits.clone(), after(round));
        let two = batch(commits.into_iter().rev().collect(), after(round));
        let both = async { tokio::join!(on.store.commit(&one), on.other.commit(&two)) };
        let (one, two) = tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
        assert!(
            matches!((&one, &two), (Ok(()), Err(StoreError::Conflict)) | (Err(StoreError::Conflict), Ok(()))),
            "{one:?} {two:?}"
        );
    }
    if let Database::Postgres(_) = on.database {
        let deadlocks = on.database.column("select deadlocks from pg_stat_database where datname = current_database()");
        assert_eq!(deadlocks.await, ["0"]);
    }
}

pub(crate) async fn a_commit_without_the_row_of_its_submission_is_refused(on: Fixture) {
    let mut run = Run::new("purchase", bob());
    let mut commit = run.next(vec![comment("x")]);
    commit.changes.submission = None;
    assert!(matches!(on.store.commit(&batch(vec![commit], start())).await, Err(StoreError::Internal(_))));
}
