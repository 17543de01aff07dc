//! From the engine's and the store's types to messages.

use jiff::Timestamp;
use quorate_engine::{
    Json,
    event::Event,
    projection::{DecisionRow, SubmissionRow, WorkItemRow},
    state::{self, Assignee, Evaluation, Failure, StageRun, StepRun, Submission, WorkItem},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, VersionStatus, WorkItemStatus},
};
use quorate_store::{log::StoredEvent, query::WorkItemEntry, store::OpenJobRow};

use crate::proto::{v1, value};

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// A submission with all that happened in it.
pub(super) fn submission(state: &Submission) -> v1::Submission {
    v1::Submission {
        id: state.id.to_string(),
        process: state.process.name.clone(),
        process_version: state.process.version,
        status: submission_status(state.status).into(),
        record: Some(v1::Record {
            r#type: state.record.record_type.clone(),
            id: state.record.id.clone(),
            data: Some(value::from_json(&state.record.data)),
            version: state.record.version,
            digest: state.record.digest.clone(),
            source_version: state.record.source_version.unwrap_or_default(),
        }),
        submitter: state.submitter.to_string(),
        on_behalf_of: state.on_behalf_of.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: state.comment.clone(),
        summary: state.summary.clone(),
        round: state.round,
        stages: state.stage_runs.iter().map(|stage| stage_run(state, stage)).collect(),
        failure: state.failure.as_ref().map(failure),
        ending: state.ending.map_or(0, |ending| submission_status(ending.status()).into()),
        submitted_at: Some(timestamp(state.submitted_at)),
        ended_at: state.ended_at.map(timestamp),
        version: state.version,
        ignored_change: state.ignored_change.as_ref().map(|ignored| v1::IgnoredChange {
            digest: ignored.digest.clone(),
            reason: ignored.reason.clone(),
            message: ignored.message.clone(),
            at: Some(timestamp(ignored.at)),
        }),
        resubmission_of: state
            .resubmission
            .as_ref()
            .map(|resubmission| resubmission.of.to_string())
            .unwrap_or_default(),
    }
}

/// A submission as a list shows it: without its stages, its record's data, and what else its row does not hold.
pub(super) fn submission_entry(row: SubmissionRow) -> v1::Submission {
    v1::Submission {
        id: row.id.to_string(),
        process: row.process,
        process_version: row.process_version,
        status: submission_status(row.status).into(),
        record: Some(v1::Record {
            r#type: row.record_type,
            id: row.record_id,
            data: None,
            version: row.record_version,
            digest: row.record_digest,
            source_version: 0,
        }),
        submitter: row.submitter.0,
        on_behalf_of: row.on_behalf_of.map(|name| name.0).unwrap_or_default(),
        comment: row.comment,
        summary: row.summary,
        round: row.round,
        stages: Vec::new(),
        failure: row
            .failure_reason
            .map(|reason| v1::Failure { reason, message: row.failure_message.unwrap_or_default() }),
        ending: row.ending.map_or(0, |ending| submission_status(ending).into()),
        submitted_at: Some(timestamp(row.submitted_at)),
        ended_at: row.ended_at.map(timestamp),
        resubmission_of: String::new(),
        version: row.version,
        ignored_change: None,
    }
}

fn stage_run(state: &Submission, run: &StageRun) -> v1::StageRun {
    v1::StageRun {
        id: run.id.to_string(),
        name: run.name.clone(),
        round: run.round,
        status: stage_run_status(run.status).into(),
        steps: run.steps.iter().map(|step| step_run(state, run, step)).collect(),
        failure: run.failure.as_ref().map(failure),
        started_at: Some(timestamp(run.started_at)),
        ended_at: run.ended_at.map(timestamp),
        sent_back: run.sent_back.as_ref().map(|sent| v1::SentBack {
            to: sent.to.clone(),
            by: sent.by.to_string(),
            comment: sent.comment.clone(),
        }),
        exit: run.exit.as_deref().map(evaluation),
    }
}

fn evaluation(evaluation: &Evaluation) -> v1::Evaluation {
    let job = &evaluation.job;
    v1::Evaluation {
        flow: job.spec.flow.name.clone(),
        flow_version: job.spec.flow.version,
        job: job.id.to_string(),
        attempt: job.attempt,
        status: job_status(job.status).into(),
        met: evaluation.met,
        asked_at: Some(timestamp(job.scheduled_at)),
        answered_at: evaluation.answered_at.map(timestamp),
    }
}

fn step_run(state: &Submission, stage: &StageRun, run: &StepRun) -> v1::StepRun {
    let job = run.job.as_ref();
    v1::StepRun {
        id: run.id.to_string(),
        name: run.name.clone(),
        round: run.round,
        status: step_run_status(run.status).into(),
        outputs: run.outputs.as_ref().map(|outputs| value::from_json(outputs)),
        work_items: run.work_items.iter().map(|item| work_item(state, stage, run, item)).collect(),
        failure: run.failure.as_ref().map(failure),
        started_at: run.started_at.map(timestamp),
        ended_at: run.ended_at.map(timestamp),
        flow: job.map(|job| job.spec.flow.name.clone()).unwrap_or_default(),
        flow_version: job.map_or(0, |job| job.spec.flow.version),
        job: job.map(|job| job.id.to_string()).unwrap_or_default(),
        attempt: job.map_or(0, |job| job.attempt),
        reused: run.reused.as_ref().map(|reused| v1::ReusedDecisions {
            submission: reused.submission.to_string(),
            step_run: reused.step_run.to_string(),
            reviewers: reused.reviewers.iter().map(ToString::to_string).collect(),
        }),
        overridden: run.overridden.as_ref().map(|overridden| decision(&overridden.decision, Some(overridden.at))),
        due_at: run.deadlines.due_at.map(timestamp),
        overdue: run.overdue,
        expires_at: run.deadlines.expiry.map(|expiry| timestamp(expiry.at)),
        entry: run.entry.as_deref().map(evaluation),
        exit: run.exit.as_deref().map(evaluation),
    }
}

/// A work item with what a reviewer wants to see of its submission.
pub(super) fn work_item(state: &Submission, stage: &StageRun, step: &StepRun, item: &WorkItem) -> v1::WorkItem {
    v1::WorkItem {
        id: item.id.to_string(),
        submission: state.id.to_string(),
        process: state.process.name.clone(),
        stage: stage.name.clone(),
        step: step.name.clone(),
        assignee: Some(assignee(&item.assignee)),
        status: work_item_status(item.status).into(),
        reason: item.why(),
        decision: item.decision.as_ref().map(|made| decision(made, item.closed_at)),
        assigned_at: Some(timestamp(item.assigned_at)),
        closed_at: item.closed_at.map(timestamp),
        summary: state.summary.clone(),
        submitter: state.submitter.to_string(),
        record_digest: state.record.digest.clone(),
        record_type: state.record.record_type.clone(),
        record_id: state.record.id.clone(),
        weight: item.weight,
        veto: item.veto,
        on_behalf_of: String::new(),
        delegation: String::new(),
        claimed_by: item.claim.as_ref().map(|claim| claim.by.to_string()).unwrap_or_default(),
        claimed_until: item.claim.as_ref().and_then(|claim| claim.until).map(timestamp),
        open_question: item.open_question().map(question),
        questions: item.questions.iter().map(question).collect(),
        due_at: step.deadlines.due_at.map(timestamp),
    }
}

fn decision(decision: &state::Decision, at: Option<Timestamp>) -> v1::Decision {
    v1::Decision {
        verdict: verdict(decision.verdict).into(),
        actor: decision.actor.to_string(),
        comment: decision.comment.clone(),
        channel: decision.channel.clone(),
        record_digest: decision.record_digest.clone(),
        decided_at: at.map(timestamp),
        on_behalf_of: decision.on_behalf_of.as_ref().map(ToString::to_string).unwrap_or_default(),
        delegation: decision.delegation.clone().unwrap_or_default(),
    }
}

fn question(question: &state::Question) -> v1::Question {
    let answer = question.answer.as_ref();
    v1::Question {
        by: question.by.to_string(),
        asked_at: Some(timestamp(question.at)),
        question: question.text.clone(),
        answered_by: answer.map(|answer| answer.by.to_string()).unwrap_or_default(),
        answered_at: answer.map(|answer| timestamp(answer.at)),
        answer: answer.map(|answer| answer.text.clone()).unwrap_or_default(),
    }
}

/// A work item as it is listed.
pub(super) fn work_item_entry(entry: WorkItemEntry) -> v1::WorkItem {
    let WorkItemEntry { item, decision, submission } = entry;
    let WorkItemRow { id, process, stage, step, assignee_kind, assignee: name, reason, status, .. } = item;
    v1::WorkItem {
        id: id.to_string(),
        submission: submission.id.to_string(),
        process,
        stage,
        step,
        assignee: Assignee::from_parts(assignee_kind, &name).as_ref().map(assignee),
        status: work_item_status(status).into(),
        reason,
        decision: decision.map(decision_entry),
        assigned_at: Some(timestamp(item.assigned_at)),
        closed_at: item.closed_at.map(timestamp),
        summary: submission.summary,
        submitter: submission.submitter.0,
        record_digest: submission.record_digest,
        record_type: submission.record_type,
        record_id: submission.record_id,
        weight: item.weight,
        veto: item.veto,
        on_behalf_of: String::new(),
        delegation: String::new(),
        claimed_by: item.claimed_by.map(|name| name.0).unwrap_or_default(),
        claimed_until: item.claimed_until.map(timestamp),
        open_question: item.question.map(|question| v1::Question {
            by: item.question_by.map(|name| name.0).unwrap_or_default(),
            asked_at: item.question_at.map(timestamp),
            question,
            ..v1::Question::default()
        }),
        questions: Vec::new(),
        due_at: item.due_at.map(timestamp),
    }
}

fn decision_entry(row: DecisionRow) -> v1::Decision {
    v1::Decision {
        verdict: verdict(row.verdict).into(),
        actor: row.actor.0,
        comment: row.comment,
        channel: row.channel,
        record_digest: row.record_digest,
        decided_at: Some(timestamp(row.decided_at)),
        on_behalf_of: row.on_behalf_of.map(|name| name.0).unwrap_or_default(),
        delegation: row.delegation.unwrap_or_default(),
    }
}

/// An event, without the tokens of jobs: those are for the worker alone.
pub(super) fn event(event: &StoredEvent) -> v1::Event {
    v1::Event {
        seq: event.seq,
        at: Some(timestamp(event.at)),
        kind: event.kind.clone(),
        body: Some(value::from_json(&without_tokens(event.body.clone()))),
        hash: event.hash.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
    }
}

/// An event that would happen: it has no place in the chain, and so no hash.
pub(super) fn unstored_event(seq: u64, event: &Event) -> v1::Event {
    let (kind, body) = event.kind.to_parts();
    let body = Some(value::from_json(&without_tokens(body)));
    v1::Event { seq, at: Some(timestamp(event.at)), kind, body, hash: String::new() }
}

fn without_tokens(mut body: Json) -> Json {
    if let Some(fields) = body.as_object_mut() {
        fields.remove("token");
        fields.remove("next_token");
    }
    body
}

/// An open job, without its token.
pub(super) fn open_job(row: OpenJobRow) -> v1::OpenJob {
    let OpenJobRow { submission, job, .. } = row;
    v1::OpenJob {
        job: job.id.to_string(),
        attempt: job.attempt,
        status: job_status(job.status).into(),
        flow: job.spec.flow.name.clone(),
        flow_version: job.spec.flow.version,
        task_queue: job.spec.task_queue.clone(),
        submission: submission.to_string(),
        process: job.process,
        stage: job.stage,
        step: job.step,
        available_at: Some(timestamp(job.available_at)),
        started_at: job.started_at.map(timestamp),
        kind: job.spec.kind.as_str().to_owned(),
    }
}

fn assignee(assignee: &Assignee) -> v1::Assignee {
    let kind = match assignee {
        Assignee::User(_) => v1::AssigneeKind::User,
        Assignee::Group(_) => v1::AssigneeKind::Group,
        Assignee::Queue(_) => v1::AssigneeKind::Queue,
    };
    v1::Assignee { kind: kind.into(), name: assignee.name().to_owned() }
}

fn failure(failure: &Failure) -> v1::Failure {
    v1::Failure { reason: failure.reason.as_str().to_owned(), message: failure.message.clone() }
}

fn verdict(verdict: state::Verdict) -> v1::Verdict {
    match verdict {
        state::Verdict::Approve => v1::Verdict::Approve,
        state::Verdict::Reject => v1::Verdict::Reject,
        state::Verdict::Abstain => v1::Verdict::Abstain,
    }
}

pub(super) fn submission_status(status: SubmissionStatus) -> v1::SubmissionStatus {
    match status {
        SubmissionStatus::InProgress => v1::SubmissionStatus::InProgress,
        SubmissionStatus::Approved => v1::SubmissionStatus::Approved,
        SubmissionStatus::Rejected => v1::SubmissionStatus::Rejected,
        SubmissionStatus::Recalled => v1::SubmissionStatus::Recalled,
        SubmissionStatus::Canceled => v1::SubmissionStatus::Canceled,
        SubmissionStatus::Error => v1::SubmissionStatus::Error,
        SubmissionStatus::Suspended => v1::SubmissionStatus::Suspended,
    }
}

fn stage_run_status(status: StageRunStatus) -> v1::StageRunStatus {
    match status {
        StageRunStatus::InProgress => v1::StageRunStatus::InProgress,
        StageRunStatus::Completed => v1::StageRunStatus::Completed,
        StageRunStatus::Discontinued => v1::StageRunStatus::Discontinued,
        StageRunStatus::Canceled => v1::StageRunStatus::Canceled,
        StageRunStatus::Error => v1::StageRunStatus::Error,
        StageRunStatus::Suspended => v1::StageRunStatus::Suspended,
    }
}

fn step_run_status(status: StepRunStatus) -> v1::StepRunStatus {
    match status {
        StepRunStatus::NotStarted => v1::StepRunStatus::NotStarted,
        StepRunStatus::InProgress => v1::StepRunStatus::InProgress,
        StepRunStatus::Completed => v1::StepRunStatus::Completed,
        StepRunStatus::Discontinued => v1::StepRunStatus::Discontinued,
        StepRunStatus::Canceled => v1::StepRunStatus::Canceled,
        StepRunStatus::Error => v1::StepRunStatus::Error,
    }
}

fn work_item_status(status: WorkItemStatus) -> v1::WorkItemStatus {
    match status {
        WorkItemStatus::Assigned => v1::WorkItemStatus::Assigned,
        WorkItemStatus::Approved => v1::WorkItemStatus::Approved,
        WorkItemStatus::Rejected => v1::WorkItemStatus::Rejected,
        WorkItemStatus::Abstained => v1::WorkItemStatus::Abstained,
        WorkItemStatus::Withdrawn => v1::WorkItemStatus::Withdrawn,
        WorkItemStatus::Canceled => v1::WorkItemStatus::Canceled,
        WorkItemStatus::Recalled => v1::WorkItemStatus::Recalled,
        WorkItemStatus::Errored => v1::WorkItemStatus::Errored,
    }
}

fn job_status(status: JobStatus) -> v1::JobStatus {
    match status {
        JobStatus::Pending => v1::JobStatus::Pending,
        JobStatus::Published => v1::JobStatus::Published,
        JobStatus::Running => v1::JobStatus::Running,
        JobStatus::Completed => v1::JobStatus::Completed,
        JobStatus::Failed => v1::JobStatus::Failed,
        JobStatus::Canceled => v1::JobStatus::Canceled,
    }
}

pub(super) fn version_status(status: VersionStatus) -> v1::VersionStatus {
    match status {
        VersionStatus::Draft => v1::VersionStatus::Draft,
        VersionStatus::Active => v1::VersionStatus::Active,
        VersionStatus::Inactive => v1::VersionStatus::Inactive,
    }
}
