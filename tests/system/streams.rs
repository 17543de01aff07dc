//! Streams of jobs over gRPC: how many jobs a worker gets, and when the next one.

use std::time::{Duration, Instant};

use quorate::proto::v1::{Job, JobReport, SubmissionServiceCancelRequest};
use serde_json::json;

use crate::{
    backend::Backend,
    jobs::{completed, delete_task_queue, next, report, stream},
    on_every_backend,
    queue_support::until,
    system::{Server, System},
};

/// Long enough for a job to be acknowledged that may be after a second.
const LONGER: Duration = Duration::from_secs(4);

async fn longer() {
    let since = Instant::now();
    until("the time to acknowledge", || async { (since.elapsed() > LONGER).then_some(()) }).await;
}

fn started(job: &Job) -> JobReport {
    JobReport { status: "STARTED".to_owned(), ..completed(job) }
}

on_every_backend! {
    async fn a_long_job_keeps_its_place_when_it_is_acknowledged(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        system.restart_server(&["--long-job-after", "1"]).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut one = stream(&worker).await;
        ann.submit("waiting", json!({})).await;
        let long = next(&mut one).await;
        report(&worker, started(&long)).await.unwrap();
        longer().await;
        let second = ann.submit("waiting", json!({})).await.id;
        let mut other = stream(&worker).await;
        let job = next(&mut other).await;
        assert_eq!(job.submission, second, "it waits for whoever has a place");
        report(&worker, completed(&job)).await.unwrap();
        drop(other);
        let third = ann.submit("waiting", json!({})).await.id;
        report(&worker, completed(&long)).await.unwrap();
        // The first that comes after the long one: nothing came meanwhile.
        let job = next(&mut one).await;
        assert_eq!(job.submission, third);
        report(&worker, completed(&job)).await.unwrap();
        drop(one);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_job_that_only_waits_at_its_worker_goes_to_another_however_long_it_waited(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        system.restart_server(&["--long-job-after", "1"]).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        ann.submit("waiting", json!({})).await;
        let job = next(&mut jobs).await;
        longer().await;
        drop(jobs);
        let mut jobs = stream(&worker).await;
        assert_eq!(next(&mut jobs).await, job);
        report(&worker, completed(&job)).await.unwrap();
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_job_that_ended_without_a_report_gives_up_its_place(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, admin, worker) = (system.caller("ann"), system.caller("admin"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        let canceled = ann.submit("waiting", json!({})).await.id;
        assert_eq!(next(&mut jobs).await.submission, canceled);
        let cancel = SubmissionServiceCancelRequest { id: canceled, ..Default::default() };
        admin.submissions().cancel(cancel).await.unwrap();
        let id = ann.submit("waiting", json!({})).await.id;
        let job = next(&mut jobs).await;
        assert_eq!(job.submission, id);
        report(&worker, completed(&job)).await.unwrap();
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }
}

#[tokio::test]
async fn a_worker_gets_jobs_from_one_server_and_reports_them_to_another() {
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    let second = Server::start(&system.backend, &[]).await;
    let (ann, worker, there) = (system.caller("ann"), system.caller("worker"), system.caller_at(&second, "worker"));
    let mut jobs = stream(&worker).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ann.submit("waiting", json!({})).await.id);
    }
    let mut done = Vec::new();
    for _ in 0..3 {
        let job = next(&mut jobs).await;
        report(&there, completed(&job)).await.unwrap();
        done.push(job.submission);
    }
    ids.sort();
    done.sort();
    assert_eq!(done, ids);
    drop(jobs);
    assert!(second.program.stop().await.success());
    delete_task_queue(&system).await;
    system.end().await;
}
