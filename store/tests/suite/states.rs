//! Submissions made by hand, and commits of them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    event::{Event, EventKind},
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, Token, UserName, WorkItemId},
    projection::{Projection, project},
    state::{
        Assignee, Claim, Decision, Evaluation, Job, JobExecution, JobKind, JobSpec, Overridden, Question, Record,
        RetryPolicy, StageRun, StepLock, StepRun, Submission, Verdict, VersionRef, WorkItem,
    },
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
    timer::Deadlines,
};
use quorate_store::{
    Store, StoreError,
    log::{FIRST_PREVIOUS, Hash, seal},
    store::{AttemptKey, Batch, SubmissionCommit},
};
use serde_json::json;
use uuid::Uuid;

/// The time at which the tests begin.
pub(crate) fn start() -> Timestamp {
    "2026-11-22T10:00:00.123456Z".parse().unwrap()
}

/// So many seconds after the tests begin.
pub(crate) fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn tenant() -> Tenant {
    Tenant::from("default")
}

/// A submission, its log so far, and the rows that are stored of it.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) state: Submission,
    head: Hash,
    stored: Option<Projection>,
}

impl Run {
    /// A submission with a background step that is in progress, and an approval step of this user that is, too.
    pub(crate) fn new(process: &str, assignee: Assignee) -> Self {
        let id = SubmissionId(Uuid::now_v7());
        let at = start();
        let background = StepRun { job: Some(job(id)), ..step("check", StepRunStatus::InProgress) };
        let approval = StepRun { work_items: vec![item(assignee)], ..step("manager", StepRunStatus::InProgress) };
        let review = StageRun {
            id: StageRunId(Uuid::now_v7()),
            name: "review".to_owned(),
            ending: None,
            round: 1,
            status: StageRunStatus::InProgress,
            awaits_time: false,
            failure: None,
            started_at: at,
            ended_at: None,
            steps: vec![background, approval],
            sent_back: None,
            exit: None,
        };
        let record = Record {
            record_type: "purchase_request".to_owned(),
            id: "PR-1".to_owned(),
            version: 1,
            digest: "d1".to_owned(),
            data: Arc::new(json!({})),
            source_version: None,
        };
        let state = Submission {
            tenant: tenant(),
            id,
            version: 0,
            process: VersionRef { name: process.to_owned(), version: 3 },
            record,
            submitter: UserName::from("ann"),
            on_behalf_of: None,
            comment: "für Zoë 🚀 \"quoted\" \\ back\tslash\n".to_owned(),
            choices: BTreeMap::new(),
            summary: "ACME: 50".to_owned(),
            status: SubmissionStatus::InProgress,
            ending: None,
            round: 1,
            stage_runs: vec![review],
            current: Some(0),
            failure: None,
            suspended_at: None,
            submitted_at: at,
            ended_at: None,
            kept: None,
            ignored_change: None,
            resubmission: None,
            traceparent: None,
            changes: 0,
        };
        Self { state, head: FIRST_PREVIOUS, stored: None }
    }

    pub(crate) fn id(&self) -> SubmissionId {
        self.state.id
    }

    pub(crate) fn step(&mut self, index: usize) -> &mut StepRun {
        &mut self.state.stage_runs[0].steps[index]
    }

    pub(crate) fn job(&mut self) -> &mut Job {
        self.step(0).job.as_mut().unwrap()
    }

    pub(crate) fn item(&mut self) -> &mut WorkItem {
        &mut self.step(1).work_items[0]
    }

    /// A flow is asked about the exit condition of its stage.
    pub(crate) fn ask_about_exit(&mut self, at: Timestamp) -> JobId {
        let mut job = job(self.id());
        let mut spec = (*job.spec).clone();
        spec.kind = JobKind::Evaluation;
        job.spec = Arc::new(spec);
        job.available_at = at;
        let id = job.id;
        let evaluation = Evaluation { job, asked_on: 0, met: None, answered_at: None };
        self.state.stage_runs[0].exit = Some(Box::new(evaluation));
        id
    }

    /// The live attempt of its job.
    pub(crate) fn attempt(&mut self) -> AttemptKey {
        let submission = self.id();
        let job = self.job();
        AttemptKey { tenant: tenant(), submission, job: job.id, attempt: job.attempt }
    }

    /// Its approval step is due at this time.
    pub(crate) fn set_due(&mut self, at: Option<Timestamp>) {
        self.step(1).deadlines = Deadlines { due_at: at, ..Deadlines::default() };
    }

    /// A worker starts its job.
    pub(crate) fn start_job(&mut self, at: Timestamp) {
        self.job().status = JobStatus::Running;
        self.job().started_at = Some(at);
    }

    /// Its work item is approved.
    pub(crate) fn approve(&mut self, at: Timestamp) {
        self.decide(Verdict::Approve, WorkItemStatus::Approved, at);
        let step = self.step(1);
        step.status = StepRunStatus::Completed;
        step.settled = Some(Verdict::Approve);
        step.outputs = Some(Arc::new(odd_values()));
        step.ended_at = Some(at);
    }

    /// Its work item is decided with an abstention, which settles nothing else.
    pub(crate) fn abstain(&mut self, at: Timestamp) {
        self.decide(Verdict::Abstain, WorkItemStatus::Abstained, at);
    }

    /// Its work item is claimed, and its submitter is asked something on it.
    pub(crate) fn claim_and_ask(&mut self, at: Timestamp) {
        let bob = || UserName::from("bob");
        let item = self.item();
        item.claim = Some(Claim { by: bob(), until: Some(after(3_600)) });
        item.questions = vec![Question { by: bob(), at, text: "which?".to_owned(), answer: None }];
    }

    /// An administrator settles its approval step.
    pub(crate) fn override_step(&mut self, at: Timestamp) {
        self.item().status = WorkItemStatus::Withdrawn;
        self.item().closed_at = Some(at);
        let decision = Decision {
            verdict: Verdict::Reject,
            actor: UserName::from("admin"),
            on_behalf_of: None,
            delegation: None,
            comment: "no".to_owned(),
            channel: "OVERRIDE".to_owned(),
            record_digest: "d1".to_owned(),
            values: None,
        };
        self.step(1).overridden = Some(Overridden { decision, at });
    }

    fn decide(&mut self, verdict: Verdict, status: WorkItemStatus, at: Timestamp) {
        let decision = Decision {
            verdict,
            actor: UserName::from("bob"),
            on_behalf_of: Some(UserName::from("carol")),
            delegation: Some("holiday".to_owned()),
            comment: "fine".to_owned(),
            channel: "API".to_owned(),
            record_digest: "d1".to_owned(),
            values: None,
        };
        let item = self.item();
        item.status = status;
        item.closed_at = Some(at);
        item.decision = Some(decision);
    }

    /// What a commit writes after so many more events. The run then stands as if the commit was stored.
    pub(crate) fn next(&mut self, kinds: Vec<EventKind>) -> SubmissionCommit {
        let expected_version = self.state.version;
        let events: Vec<Event> = kinds.into_iter().map(|kind| Event { at: start(), kind }).collect();
        let events = seal(self.id(), expected_version, self.head, &events);
        self.head = events.last().unwrap().hash;
        self.state.version += events.len() as u64;
        let projection = project(&self.state);
        let changes = projection.changes_since(self.stored.as_ref());
        self.stored = Some(projection);
        SubmissionCommit { tenant: tenant(), id: self.id(), expected_version, events, changes, announce: false }
    }

    /// Commits one more event and what has changed, at this time.
    pub(crate) async fn commit(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let commit = self.next(vec![comment("x")]);
        store.commit(&batch(vec![commit], now)).await
    }
}

/// A batch of these commits.
pub(crate) fn batch(submissions: Vec<SubmissionCommit>, now: Timestamp) -> Batch {
    Batch { submissions, publish_grace: SignedDuration::from_secs(5), now: Some(now), ..Batch::default() }
}

pub(crate) fn comment(text: &str) -> EventKind {
    EventKind::Commented { by: UserName::from("ann"), comment: text.to_owned() }
}

/// JSON that is easily changed on its way through a database.
pub(crate) fn odd_values() -> quorate_engine::Json {
    json!({
        "z": 0.1, "a": 1e300, "aa": 1e-7, "b": 1e16, "minus": -1e16, "exact": 12_345_678_901_234_567_000.0,
        "whole": 100.0, "tiny": 5e-324, "huge": f64::MAX, "least": i64::MIN, "most": i64::MAX, "unsigned": u64::MAX,
        "zero": 0, "text": "naïve 😀 \u{1}\u{7f} \" \\ / \u{2028}", "": null, "nested": [[], {}, [{"deep": [true, false]}]],
    })
}

/// A started record with such JSON in it.
pub(crate) fn odd_event(run: &Run) -> EventKind {
    let record = Record { data: Arc::new(odd_values()), ..run.state.record.clone() };
    EventKind::Submitted {
        tenant: tenant(),
        submission: run.id(),
        process: run.state.process.clone(),
        record,
        submitter: UserName::from("ann"),
        on_behalf_of: None,
        comment: run.state.comment.clone(),
        choices: BTreeMap::from([("manager".to_owned(), vec!["bob".to_owned()])]),
        summary: String::new(),
        resubmission: None,
        traceparent: None,
    }
}

fn step(name: &str, status: StepRunStatus) -> StepRun {
    StepRun {
        id: StepRunId(Uuid::now_v7()),
        name: name.to_owned(),
        round: 1,
        status,
        failure: None,
        started_at: Some(start()),
        ended_at: None,
        outputs: None,
        settled: None,
        reused: None,
        job: None,
        work_items: Vec::new(),
        deadlines: Deadlines::default(),
        lock: (status == StepRunStatus::InProgress).then_some(StepLock { allow_reviewer_edit: true }),
        overdue: false,
        overridden: None,
        reminded: 0,
        escalated: 0,
        entry: None,
        exit: None,
        screen: None,
    }
}

fn item(assignee: Assignee) -> WorkItem {
    WorkItem {
        id: WorkItemId(Uuid::now_v7()),
        assignee,
        reason: "user bob".to_owned(),
        weight: 3,
        veto: true,
        replaced: false,
        status: WorkItemStatus::Assigned,
        assigned_at: start(),
        closed_at: None,
        decision: None,
        claim: None,
        reassigned: None,
        questions: Vec::new(),
    }
}

fn job(submission: SubmissionId) -> Job {
    Job {
        id: JobId(Uuid::now_v7()),
        spec: Arc::new(JobSpec {
            kind: JobKind::Autolaunched,
            flow: VersionRef { name: "check-budget".to_owned(), version: 2 },
            task_queue: "erp".to_owned(),
            input: odd_values(),
            execution: JobExecution::Sync(10_000),
            retry: RetryPolicy {
                max_attempts: 5,
                initial_interval: 1000,
                backoff: 2.0,
                max_interval: 60_000,
                jitter: 0.1,
                non_retryable: vec!["NO_BUDGET".to_owned()],
                timeout: 30_000,
                total_timeout: Some(600_000),
                heartbeat_timeout: Some(10_000),
            },
            traceparent: None,
        }),
        status: JobStatus::Pending,
        attempt: 1,
        attempts_before: 0,
        stops: 0,
        token: Token::new(submission, 1),
        available_at: start(),
        started_at: None,
        scheduled_at: start(),
    }
}
