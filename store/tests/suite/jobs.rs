//! The outbox and the timers.

use std::{collections::BTreeSet, sync::Arc};

use quorate_engine::{
    id::{JobId, SubmissionId, Token},
    projection::project,
    state::Assignee,
    status::JobStatus,
};
use quorate_store::{
    Store,
    store::{DueJob, Heartbeat},
};
use tokio::sync::Barrier;

use crate::{
    fixture::Fixture,
    states::{Run, after, batch, comment, start, tenant},
};

/// A submission whose job was stored at the start; its publisher has 5 s.
async fn stored(store: &dyn Store) -> Run {
    let mut run = Run::new("purchase", Assignee::User("bob".to_owned()));
    run.commit(store, start()).await.unwrap();
    run
}

/// The jobs that the relay gets at this time, each until 60 s later.
async fn delivered(store: &dyn Store, at: i64) -> Vec<JobId> {
    let claimed = store.claim_deliveries(after(at), after(at + 60), 100).await.unwrap();
    claimed.iter().map(|row| row.job.id).collect()
}

async fn due(store: &dyn Store, at: i64) -> Vec<DueJob> {
    store.claim_due(after(at), after(at + 60), 100).await.unwrap()
}

pub(crate) async fn a_job_is_left_to_its_publisher_and_then_to_the_relay(on: Fixture) {
    let mut run = stored(&*on.store).await;
    let id = run.job().id;
    assert!(delivered(&*on.store, 4).await.is_empty());
    let claimed = on.store.claim_deliveries(after(5), after(65), 100).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((&claimed[0].tenant, claimed[0].submission), (&tenant(), run.id()));
    assert_eq!(claimed[0].job, project(&run.state).jobs[&id]);
    assert_eq!(claimed[0].heartbeat_at, None);
    assert!(delivered(&*on.other, 64).await.is_empty());
    assert_eq!(delivered(&*on.other, 65).await, [id]);

    on.store.mark_published(&[run.attempt()], after(1000)).await.unwrap();
    assert!(delivered(&*on.store, 999).await.is_empty());
    assert_eq!(delivered(&*on.store, 1000).await, [id]);
}

pub(crate) async fn a_job_of_a_stages_exit_condition_has_no_step(on: Fixture) {
    let mut run = stored(&*on.store).await;
    let id = run.ask_about_exit(start());
    run.commit(&*on.store, start()).await.unwrap();
    let rows = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert_eq!((rows.jobs[&id].step_run, rows.jobs[&id].step.as_str()), (None, ""));
    assert_eq!(rows, project(&run.state));
    assert!(delivered(&*on.other, 5).await.contains(&id));
}

pub(crate) async fn a_job_for_later_is_delivered_when_it_is_due(on: Fixture) {
    let mut run = Run::new("purchase", Assignee::User("bob".to_owned()));
    run.job().available_at = after(100);
    run.commit(&*on.store, start()).await.unwrap();
    assert!(delivered(&*on.store, 99).await.is_empty());
    assert_eq!(delivered(&*on.store, 100).await, [run.job().id]);
}

pub(crate) async fn a_started_job_is_not_delivered_again(on: Fixture) {
    let mut run = stored(&*on.store).await;
    run.start_job(after(1));
    run.commit(&*on.store, after(1)).await.unwrap();
    on.store.mark_published(&[run.attempt()], after(2)).await.unwrap();
    assert!(delivered(&*on.store, 10_000).await.is_empty());
    let stored = on.store.projection(&tenant(), run.id()).await.unwrap().unwrap();
    assert_eq!(stored.jobs[&run.job().id].status, JobStatus::Running);
}

pub(crate) async fn a_published_job_reads_as_pending_in_the_projection(on: Fixture) {
    let mut run = stored(&*on.store).await;
    on.store.mark_published(&[run.attempt()], after(60)).await.unwrap();
    assert_eq!(on.store.count_jobs(&tenant()).await.unwrap(), [(JobStatus::Published, 1)]);
    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), Some(project(&run.state)));
}

pub(crate) async fn a_mark_for_another_attempt_is_ignored(on: Fixture) {
    let mut run = stored(&*on.store).await;
    let first = run.attempt();
    on.store.mark_published(std::slice::from_ref(&first), after(1000)).await.unwrap();
    let submission = run.id();
    let job = run.job();
    job.attempt = 2;
    job.token = Token::new(submission, 2);
    job.available_at = after(20);
    run.commit(&*on.store, after(10)).await.unwrap();
    on.store.mark_published(&[first], after(2000)).await.unwrap();
    on.store.mark_published(&[], after(2000)).await.unwrap();
    assert_eq!(on.store.count_jobs(&tenant()).await.unwrap(), [(JobStatus::Pending, 1)]);
    assert_eq!(delivered(&*on.store, 20).await, [run.job().id]);
}

pub(crate) async fn two_claimers_never_get_the_same_job(on: Fixture) {
    let mut runs: Vec<Run> = (0..60).map(|_| Run::new("purchase", Assignee::User("bob".to_owned()))).collect();
    let made = runs.iter_mut().map(|run| run.next(vec![comment("new")])).collect();
    on.store.commit(&batch(made, start())).await.unwrap();

    let barrier = Arc::new(Barrier::new(4));
    let claimers = [&on.store, &on.other, &on.store, &on.other].map(|store| {
        let (store, barrier) = (Arc::clone(store), Arc::clone(&barrier));
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            barrier.wait().await;
            for _ in 0..10 {
                let rows = store.claim_deliveries(after(10), after(70), 7).await.unwrap();
                claimed.extend(rows.iter().map(|row| row.job.id));
            }
            claimed
        })
    });
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    let distinct: BTreeSet<JobId> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (60, 60));
}

pub(crate) async fn a_silent_job_is_due_and_a_heartbeat_puts_it_off(on: Fixture) {
    let mut run = stored(&*on.store).await;
    run.start_job(after(1));
    run.commit(&*on.store, after(1)).await.unwrap();
    let beat = |attempt, at| Heartbeat {
        tenant: tenant(),
        submission: run.id(),
        job: run.state.stage_runs[0].steps[0].job.as_ref().unwrap().id,
        attempt,
        at,
    };

    // Of two signs of one batch the later counts; that of another attempt does not.
    let mut heard = batch(Vec::new(), after(9));
    heard.heartbeats = vec![beat(1, after(8)), beat(2, after(20)), beat(1, after(7))];
    on.store.commit(&heard).await.unwrap();
    assert!(due(&*on.store, 17).await.is_empty());

    let key = run.attempt();
    assert_eq!(due(&*on.store, 18).await, [DueJob { key: key.clone(), heartbeat_at: Some(after(8)) }]);
    assert!(due(&*on.other, 19).await.is_empty(), "it is claimed");
    assert_eq!(due(&*on.other, 78).await.len(), 1, "the claim is over");

    // A sign of life that comes late ends the claim, and the deadline of the attempt (30 s from its start) still holds.
    let beat = Heartbeat { tenant: tenant(), submission: run.id(), job: key.job, attempt: 1, at: after(25) };
    let mut heard = batch(Vec::new(), after(25));
    heard.heartbeats = vec![beat];
    on.store.commit(&heard).await.unwrap();
    assert!(due(&*on.store, 30).await.is_empty());
    assert_eq!(due(&*on.store, 31).await, [DueJob { key, heartbeat_at: Some(after(25)) }]);
}

pub(crate) async fn a_job_that_never_starts_is_due_when_all_its_time_is_over(on: Fixture) {
    let mut run = stored(&*on.store).await;
    assert!(due(&*on.store, 599).await.is_empty());
    assert_eq!(due(&*on.store, 600).await, [DueJob { key: run.attempt(), heartbeat_at: None }]);
}

pub(crate) async fn a_submission_that_awaits_time_is_looked_at_again(on: Fixture) {
    stored(&*on.store).await;
    let mut run = Run::new("purchase", Assignee::User("bob".to_owned()));
    run.state.stage_runs[0].awaits_time = true;
    run.commit(&*on.store, start()).await.unwrap();
    let looked = async |now: i64, before: i64| -> Vec<SubmissionId> {
        let claimed = on.store.claim_waiting(after(now), after(before), 10).await.unwrap();
        claimed.into_iter().map(|(_, id)| id).collect()
    };
    assert!(looked(30, 0).await.is_empty());
    assert_eq!(looked(31, 1).await, [run.id()]);
    assert!(looked(60, 30).await.is_empty(), "it was looked at 29 s before");
    assert_eq!(looked(62, 32).await, [run.id()]);
    run.state.stage_runs[0].awaits_time = false;
    run.commit(&*on.store, after(63)).await.unwrap();
    assert!(looked(600, 500).await.is_empty());
}

pub(crate) async fn a_timer_is_claimed_when_its_moment_has_come_and_leaves_when_it_has_fired(on: Fixture) {
    stored(&*on.store).await;
    let mut run = Run::new("purchase", Assignee::User("bob".to_owned()));
    run.set_due(Some(after(100)));
    run.commit(&*on.store, start()).await.unwrap();
    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), Some(project(&run.state)));
    let claimed = async |at: i64| on.other.claim_timers(after(at), after(at + 30), 10).await.unwrap();
    assert!(claimed(99).await.is_empty());
    assert_eq!(claimed(100).await, [(tenant(), run.id())]);
    assert!(claimed(129).await.is_empty(), "it is claimed");
    assert_eq!(claimed(130).await, [(tenant(), run.id())], "whoever claimed it has not come back");

    // Put off: the claim on the moment before is void.
    run.set_due(Some(after(140)));
    run.commit(&*on.store, after(131)).await.unwrap();
    assert!(claimed(139).await.is_empty());
    assert_eq!(claimed(140).await, [(tenant(), run.id())]);

    run.step(1).overdue = true;
    run.commit(&*on.store, after(141)).await.unwrap();
    assert!(claimed(1_000).await.is_empty(), "it has fired");
    assert_eq!(on.store.projection(&tenant(), run.id()).await.unwrap(), Some(project(&run.state)));
    assert_eq!(on.database.column("select kind from timer").await, Vec::<String>::new());
}

pub(crate) async fn two_claimers_never_get_the_same_timer(on: Fixture) {
    let mut runs: Vec<Run> = (0..60).map(|_| Run::new("purchase", Assignee::User("bob".to_owned()))).collect();
    for run in &mut runs {
        run.set_due(Some(after(1)));
    }
    let made = runs.iter_mut().map(|run| run.next(vec![comment("new")])).collect();
    on.store.commit(&batch(made, start())).await.unwrap();

    let barrier = Arc::new(Barrier::new(4));
    let claimers = [&on.store, &on.other, &on.store, &on.other].map(|store| {
        let (store, barrier) = (Arc::clone(store), Arc::clone(&barrier));
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            barrier.wait().await;
            for _ in 0..10 {
                claimed.extend(store.claim_timers(after(10), after(70), 7).await.unwrap());
            }
            claimed
        })
    });
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap().into_iter().map(|(_, submission)| submission));
    }
    let distinct: BTreeSet<SubmissionId> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (60, 60));
}
