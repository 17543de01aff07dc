//! What workers say, and what is not believed.

use quorate::proto::v1::{
    Job, JobError, JobReport, JobServiceListRequest, JobServiceReportJobRequest, JobServiceStreamJobsRequest,
    JobStatus, StepRunStatus, SubmissionStatus,
};
use serde_json::json;
use tonic::{Code, Streaming};

use crate::{
    approvals::step,
    audit::verified_history,
    backend::Backend,
    caller::{Caller, refused},
    on_every_backend,
    queue_support::{until, within},
    system::System,
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) async fn report(worker: &Caller, report: JobReport) -> Result<(), tonic::Status> {
    let request = JobServiceReportJobRequest { report: Some(report) };
    worker.jobs().report_job(request).await.map(|_| ())
}

/// The stream of a worker that serves the queue that no other serves.
pub(crate) async fn stream(worker: &Caller) -> Streaming<quorate::proto::v1::JobServiceStreamJobsResponse> {
    let request =
        JobServiceStreamJobsRequest { task_queues: vec!["nobody".into()], concurrency: 1, worker: "test".into() };
    worker.jobs().stream_jobs(request).await.unwrap().into_inner()
}

pub(crate) async fn next(jobs: &mut Streaming<quorate::proto::v1::JobServiceStreamJobsResponse>) -> Job {
    within("a job", jobs.message()).await.unwrap().unwrap().job.unwrap()
}

pub(crate) fn completed(job: &Job) -> JobReport {
    JobReport {
        job: job.job.clone(),
        attempt: job.attempt,
        token: job.token.clone(),
        status: "COMPLETED".to_owned(),
        ..JobReport::default()
    }
}

pub(crate) async fn delete_task_queue(system: &System) {
    if let Some(broker) = &system.backend.broker {
        broker.corner().delete(&broker.corner().names.jobs_queue("nobody")).await;
    }
}

on_every_backend! {
    async fn a_report_counts_with_the_live_attempts_token_only(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        let mut id = ann.submit("waiting", json!({})).await.id;
        let mut other = ann.submit("waiting", json!({})).await.id;
        let job = next(&mut jobs).await;
        // Jobs of different submissions come in any order.
        if job.submission == other {
            std::mem::swap(&mut id, &mut other);
        }
        assert_eq!((job.submission.as_str(), job.attempt, job.flow.as_str()), (id.as_str(), 1, "orphan"));
        let not_live = (Code::FailedPrecondition, "ATTEMPT_NOT_LIVE".to_owned());
        let invalid = (Code::InvalidArgument, "INVALID_FIELD".to_owned());
        let last = job.token.len() - 1;
        let forged = format!("{}{}", &job.token[..last], if job.token.ends_with('0') { '1' } else { '0' });
        assert_eq!(refused(report(&worker, JobReport { token: forged, ..completed(&job) }).await), not_live);
        assert_eq!(refused(report(&worker, JobReport { attempt: 2, ..completed(&job) }).await), not_live);
        assert_eq!(refused(report(&worker, JobReport { token: String::new(), ..completed(&job) }).await), invalid);
        assert_eq!(refused(report(&worker, JobReport { token: "a\u{0}".into(), ..completed(&job) }).await), invalid);
        assert_eq!(refused(report(&worker, JobReport { job: "x".into(), ..completed(&job) }).await), invalid);
        assert_eq!(refused(report(&worker, JobReport { status: "DONE".into(), ..completed(&job) }).await), invalid);
        let foreign = JobReport { job: uuid::Uuid::now_v7().to_string(), ..completed(&job) };
        assert!(["JOB_NOT_FOUND", "ATTEMPT_NOT_LIVE"].contains(&refused(report(&worker, foreign).await).1.as_str()));
        let empty = JobServiceReportJobRequest { report: None };
        assert_eq!(refused(worker.jobs().report_job(empty).await), invalid);
        assert_eq!(step(&ann.get(&id).await, "job"), StepRunStatus::InProgress);
        // A worker's name comes without the character that no store keeps.
        let started = JobReport { status: "STARTED".into(), worker: "te\u{0}st".into(), ..completed(&job) };
        report(&worker, started).await.unwrap();
        let request = JobServiceListRequest { filter: format!("submission = {id}"), ..Default::default() };
        let open = worker.jobs().list(request).await.unwrap().into_inner().jobs;
        assert_eq!(open[0].status(), JobStatus::Running);
        let error = JobError { code: "ERP_DOWN".into(), message: "not now".into(), retryable: Some(true) };
        let failed = JobReport { status: "FAILED".into(), error: Some(error), ..completed(&job) };
        report(&worker, failed).await.unwrap();
        // The first attempt has ended: what it says now comes too late.
        assert_eq!(refused(report(&worker, completed(&job)).await), not_live);
        // One job at a time: the other submission's comes before the second attempt, or after it.
        let mut attempts = Vec::new();
        for _ in 0..2 {
            let job = next(&mut jobs).await;
            report(&worker, completed(&job)).await.unwrap();
            attempts.push((job.submission.clone(), job.attempt));
            assert_eq!(refused(report(&worker, completed(&job)).await), not_live);
        }
        attempts.sort();
        let mut expected = vec![(id.clone(), 2), (other.clone(), 1)];
        expected.sort();
        assert_eq!(attempts, expected);
        for id in [&id, &other] {
            assert_eq!(step(&ann.get(id).await, "job"), StepRunStatus::Completed);
            let events = verified_history(&system.store, id).await;
            crate::audit::each_result_was_applied_once(&events);
        }
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_job_is_part_of_the_trace_of_its_submission(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        for (sent, handed_on) in [(TRACE, TRACE), ("00-what-is-this", "")] {
            ann.submit_under(sent, "waiting", json!({})).await;
            let first = next(&mut jobs).await;
            let failed = JobReport { status: "FAILED".into(), error: Some(JobError::default()), ..completed(&first) };
            report(&worker, failed).await.unwrap();
            let second = next(&mut jobs).await;
            report(&worker, completed(&second)).await.unwrap();
            let traces = [&first, &second].map(|job| (job.attempt, job.traceparent.as_str()));
            assert_eq!(traces, [(1, handed_on), (2, handed_on)]);
        }
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn no_event_shows_a_jobs_token(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        let id = ann.submit("waiting", json!({})).await.id;
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let job = next(&mut jobs).await;
            tokens.push(job.token.clone());
            let failed = JobReport { status: "FAILED".into(), ..completed(&job) };
            report(&worker, failed).await.unwrap();
        }
        let shown = format!("{:?} {:?}", ann.events(&id).await, ann.get(&id).await);
        assert!(shown.contains("JOB_ATTEMPT_FAILED"));
        for token in &tokens {
            assert!(!shown.contains(token.as_str()), "a token is shown");
        }
        assert!(!shown.contains("token"), "{shown}");
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }

    async fn a_job_that_its_worker_drops_goes_to_another(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, worker) = (system.caller("ann"), system.caller("worker"));
        let mut jobs = stream(&worker).await;
        let id = ann.submit("waiting", json!({})).await.id;
        let first = next(&mut jobs).await;
        drop(jobs);
        let mut jobs = stream(&worker).await;
        let again = next(&mut jobs).await;
        assert_eq!(again, first);
        report(&worker, completed(&again)).await.unwrap();
        let bob = system.caller("bob");
        bob.approve(&bob.item_of(&id).await).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Approved);
        drop(jobs);
        delete_task_queue(&system).await;
        system.end().await;
    }
}

#[tokio::test]
async fn reports_that_cannot_be_believed_are_taken_from_the_broker_and_change_nothing() {
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    let (ann, worker) = (system.caller("ann"), system.caller("worker"));
    let mut jobs = stream(&worker).await;
    let id = ann.submit("waiting", json!({})).await.id;
    let job = next(&mut jobs).await;
    let corner = system.backend.broker().corner();
    let results = corner.names.results_queue();
    corner.put(&results, b"not json").await;
    assert_eq!(corner.next_dead().await.1, b"not json");
    corner.put_report(&JobReport { status: "DONE".into(), ..completed(&job) }).await;
    let (headers, _) = corner.next_dead().await;
    assert!(headers.values().any(|value| value.contains("status")), "{headers:?}");
    // Refused by the rules: acknowledged, since it will never be right.
    corner.put_report(&JobReport { attempt: 7, ..completed(&job) }).await;
    corner.put_report(&completed(&job)).await;
    ann.when(&id, "the step's end", |submission| step(submission, "job") == StepRunStatus::Completed).await;
    until("an empty queue of results", || async { (corner.count(&results).await == 0).then_some(()) }).await;
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    verified_history(&system.store, &id).await;
    drop(jobs);
    delete_task_queue(&system).await;
    system.end().await;
}
