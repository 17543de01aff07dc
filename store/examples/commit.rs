//! Measures what a commit of new submissions takes, each with 8 events, 2 stage runs, 2 step runs and a job:
//! `cargo run --release -p quorate-store --example commit -- URL [SUBMISSIONS] [ROUNDS]`.
//! The URL's database is migrated and written to.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program: it prints, and a failure ends it")]

use std::{sync::Arc, time::Instant};

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    event::{Event, EventKind},
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, Token, UserName},
    projection::{Changes, JobRow, StageRunRow, StepRunRow, SubmissionRow},
    state::{JobExecution, JobKind, JobSpec, RetryPolicy, VersionRef},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus},
};
use quorate_store::{
    log::{FIRST_PREVIOUS, seal},
    store::{Batch, SubmissionCommit, Wanted},
};
use serde_json::json;
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the first argument is the URL of a store");
    let submissions: usize = arguments.next().map_or(100, |text| text.parse().unwrap());
    let rounds: usize = arguments.next().map_or(50, |text| text.parse().unwrap());
    let store = quorate_store::open(&url).await.unwrap();
    store.migrate().await.unwrap();

    let (mut commits, mut loads) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let batch = Batch {
            submissions: (0..submissions).map(|_| new_submission()).collect(),
            publish_grace: SignedDuration::from_secs(5),
            now: Some(Timestamp::now()),
            ..Batch::default()
        };
        let begun = Instant::now();
        store.commit(&batch).await.unwrap();
        commits.push(begun.elapsed());
        let wanted = Wanted {
            submissions: batch.submissions.iter().map(|commit| (commit.tenant.clone(), commit.id)).collect(),
            ..Wanted::default()
        };
        let begun = Instant::now();
        assert_eq!(store.load(&wanted).await.unwrap().histories.len(), submissions);
        loads.push(begun.elapsed());
    }
    for (name, times) in [("commit", &mut commits), ("load", &mut loads)] {
        let first = times.remove(0);
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        println!("{name} of {submissions}: first {first:?}, p50 {:?}, p99 {:?}", at(50), at(99));
    }
}

fn new_submission() -> SubmissionCommit {
    let (id, tenant, at) = (SubmissionId(Uuid::now_v7()), Tenant::from("default"), now());
    let kinds = (0..8).map(|_| EventKind::Commented { by: UserName::from("ann"), comment: "x".repeat(100) });
    let events: Vec<Event> = kinds.map(|kind| Event { at, kind }).collect();
    let stage_runs: Vec<StageRunRow> = (0..2).map(|_| stage_run(at)).collect();
    let step_runs: Vec<StepRunRow> = stage_runs.iter().map(|stage| step_run(stage.id, at)).collect();
    let jobs = vec![job(id, step_runs[0].id, at)];
    let changes =
        Changes { submission: Some(submission(&tenant, id, at)), stage_runs, step_runs, jobs, ..Changes::default() };
    SubmissionCommit {
        tenant,
        id,
        expected_version: 0,
        events: seal(id, 0, FIRST_PREVIOUS, &events),
        changes,
        announce: false,
    }
}

fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

fn submission(tenant: &Tenant, id: SubmissionId, at: Timestamp) -> SubmissionRow {
    SubmissionRow {
        tenant: tenant.clone(),
        id,
        version: 8,
        process: "purchase-request".to_owned(),
        process_version: 1,
        record_type: "purchase_request".to_owned(),
        record_id: id.to_string(),
        record_version: 1,
        record_digest: "0".repeat(64),
        submitter: UserName::from("ann"),
        on_behalf_of: None,
        comment: String::new(),
        summary: "ACME: 50".to_owned(),
        status: SubmissionStatus::InProgress,
        ending: None,
        round: 1,
        stage: Some("review".to_owned()),
        awaits_time: false,
        failure_reason: None,
        failure_message: None,
        submitted_at: at,
        ended_at: None,
    }
}

fn stage_run(at: Timestamp) -> StageRunRow {
    StageRunRow {
        id: StageRunId(Uuid::now_v7()),
        stage: "review".to_owned(),
        round: 1,
        status: StageRunStatus::InProgress,
        failure_reason: None,
        failure_message: None,
        started_at: at,
        ended_at: None,
    }
}

fn step_run(stage_run: StageRunId, at: Timestamp) -> StepRunRow {
    StepRunRow {
        id: StepRunId(Uuid::now_v7()),
        stage_run,
        stage: "review".to_owned(),
        step: "check_budget".to_owned(),
        round: 1,
        status: StepRunStatus::InProgress,
        outputs: None,
        settled: None,
        flow: Some("check-budget".to_owned()),
        flow_version: Some(1),
        attempt: Some(1),
        failure_reason: None,
        failure_message: None,
        started_at: Some(at),
        ended_at: None,
        due_at: None,
        overridden_by: None,
    }
}

fn job(submission: SubmissionId, step_run: StepRunId, at: Timestamp) -> JobRow {
    let id = JobId(Uuid::now_v7());
    JobRow {
        id,
        step_run: Some(step_run),
        process: "purchase-request".to_owned(),
        stage: "review".to_owned(),
        step: "check_budget".to_owned(),
        spec: Arc::new(JobSpec {
            kind: JobKind::Autolaunched,
            flow: VersionRef { name: "check-budget".to_owned(), version: 1 },
            task_queue: "default".to_owned(),
            input: json!({ "amount": 50.0 }),
            execution: JobExecution::Async,
            retry: RetryPolicy {
                max_attempts: 5,
                initial_interval: 1000,
                backoff: 2.0,
                max_interval: 60_000,
                jitter: 0.1,
                non_retryable: Vec::new(),
                timeout: 30_000,
                total_timeout: None,
                heartbeat_timeout: None,
            },
            traceparent: None,
        }),
        attempt: 1,
        token: Token::new(submission, id.0.as_u128()).reveal().to_owned(),
        status: JobStatus::Pending,
        available_at: at,
        started_at: None,
        deadline: None,
        heartbeat_timeout: None,
    }
}
