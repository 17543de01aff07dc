//! The outbox of events: what other systems are still to be told of.

use std::{collections::BTreeSet, sync::Arc};

use quorate_engine::{id::SubmissionId, state::Assignee};
use quorate_store::{
    Store,
    store::{OutboxLoad, PublishedEvents, SubmissionCommit},
};
use tokio::sync::Barrier;

use crate::{
    fixture::Fixture,
    states::{Run, after, batch, comment, start, tenant},
};

fn run() -> Run {
    Run::new("purchase", Assignee::User("bob".to_owned()))
}

/// A commit of so many events, of which other systems are to be told.
fn announced(run: &mut Run, events: usize) -> SubmissionCommit {
    SubmissionCommit { announce: true, ..run.next(vec![comment("x"); events]) }
}

async fn commit(store: &dyn Store, run: &mut Run, events: usize, at: i64) {
    store.commit(&batch(vec![announced(run, events)], after(at))).await.unwrap();
}

fn published(run: &Run, up_to: u64) -> PublishedEvents {
    PublishedEvents { tenant: tenant(), submission: run.id(), up_to }
}

async fn in_outbox(store: &dyn Store, run: &Run) -> Vec<PublishedEvents> {
    store.events_in_outbox(&[(tenant(), run.id()), (tenant(), SubmissionId(uuid::Uuid::now_v7()))]).await.unwrap()
}

/// What the relay gets at this time, each until 60 s later.
async fn claimed(store: &dyn Store, at: i64) -> Vec<PublishedEvents> {
    store.claim_events(after(at), after(at + 60), 100).await.unwrap()
}

pub(crate) async fn a_commit_that_nobody_is_told_of_is_not_in_the_outbox(on: Fixture) {
    let mut silent = run();
    silent.commit(&*on.store, start()).await.unwrap();
    assert_eq!(in_outbox(&*on.store, &silent).await, []);
    assert_eq!(claimed(&*on.store, 1000).await, []);
    // What is told later begins there.
    commit(&*on.store, &mut silent, 2, 0).await;
    assert_eq!(in_outbox(&*on.other, &silent).await, [published(&silent, 1)]);
}

pub(crate) async fn the_outbox_tells_how_much_waits_and_since_when(on: Fixture) {
    let load = || async { on.store.outbox_load(&tenant()).await.unwrap() };
    assert_eq!(load().await, OutboxLoad::default());
    let (mut first, mut second) = (run(), run());
    commit(&*on.store, &mut first, 1, 3).await;
    commit(&*on.store, &mut second, 1, 5).await;
    commit(&*on.store, &mut first, 1, 7).await;
    assert_eq!(load().await, OutboxLoad { submissions: 2, oldest_since: Some(after(3)) });
    on.store.mark_events_published(&[published(&first, 2)], after(9)).await.unwrap();
    assert_eq!(load().await, OutboxLoad { submissions: 1, oldest_since: Some(after(5)) });
}

pub(crate) async fn events_are_left_to_their_publisher_and_then_to_the_relay(on: Fixture) {
    let mut run = run();
    commit(&*on.store, &mut run, 3, 0).await;
    assert_eq!(in_outbox(&*on.store, &run).await, [published(&run, 0)]);
    assert_eq!(claimed(&*on.store, 4).await, []);
    assert_eq!(claimed(&*on.store, 5).await, [published(&run, 0)]);
    assert_eq!(claimed(&*on.other, 64).await, []);
    assert_eq!(claimed(&*on.other, 65).await, [published(&run, 0)]);

    on.store.mark_events_published(&[published(&run, 3)], after(70)).await.unwrap();
    assert_eq!(in_outbox(&*on.store, &run).await, []);
    assert_eq!(claimed(&*on.store, 1000).await, []);
}

pub(crate) async fn what_comes_while_events_are_published_stays_in_the_outbox(on: Fixture) {
    let mut run = run();
    commit(&*on.store, &mut run, 3, 0).await;
    commit(&*on.store, &mut run, 2, 1).await;
    assert_eq!(in_outbox(&*on.store, &run).await, [published(&run, 0)]);
    on.store.mark_events_published(&[published(&run, 3)], after(8)).await.unwrap();
    assert_eq!(in_outbox(&*on.store, &run).await, [published(&run, 3)]);
    assert_eq!(claimed(&*on.store, 7).await, []);
    // A mark that comes late changes nothing.
    on.store.mark_events_published(&[published(&run, 1)], after(900)).await.unwrap();
    assert_eq!(claimed(&*on.store, 8).await, [published(&run, 3)]);
    on.store.mark_events_published(&[published(&run, 5)], after(10)).await.unwrap();
    on.store.mark_events_published(&[], after(10)).await.unwrap();
    assert_eq!(in_outbox(&*on.store, &run).await, []);
    on.store.mark_events_published(&[published(&run, 5)], after(10)).await.unwrap();
    assert_eq!(claimed(&*on.store, 1000).await, []);
}

pub(crate) async fn two_claimers_never_get_the_events_of_one_submission(on: Fixture) {
    let mut runs: Vec<Run> = (0..60).map(|_| run()).collect();
    let made = runs.iter_mut().map(|run| announced(run, 1)).collect();
    on.store.commit(&batch(made, start())).await.unwrap();
    let barrier = Arc::new(Barrier::new(4));
    let claimers = [&on.store, &on.other, &on.store, &on.other].map(|store| {
        let (store, barrier) = (Arc::clone(store), Arc::clone(&barrier));
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            barrier.wait().await;
            for _ in 0..10 {
                claimed.extend(store.claim_events(after(10), after(70), 7).await.unwrap());
            }
            claimed
        })
    });
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap().into_iter().map(|row| row.submission));
    }
    let distinct: BTreeSet<SubmissionId> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (60, 60));
}

pub(crate) async fn commits_and_marks_of_the_same_submissions_do_not_wait_for_each_other_for_ever(on: Fixture) {
    let mut runs: Vec<Run> = (0..20).map(|_| run()).collect();
    let barrier = Arc::new(Barrier::new(2));
    let marks: Vec<PublishedEvents> = runs.iter().rev().map(|run| published(run, 1)).collect();
    let marker = {
        let (store, barrier) = (Arc::clone(&on.other), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            for round in 1..=30 {
                let marks: Vec<_> = marks.iter().map(|mark| PublishedEvents { up_to: round, ..mark.clone() }).collect();
                store.mark_events_published(&marks, after(5)).await.unwrap();
            }
        })
    };
    barrier.wait().await;
    for round in 1..=30 {
        let next = runs.iter_mut().map(|run| announced(run, 1)).collect();
        on.store.commit(&batch(next, after(round))).await.unwrap();
    }
    marker.await.unwrap();
    let marks: Vec<PublishedEvents> = runs.iter().map(|run| published(run, 30)).collect();
    on.store.mark_events_published(&marks, after(5)).await.unwrap();
    for run in &runs {
        assert_eq!(in_outbox(&*on.store, run).await, []);
    }
}
