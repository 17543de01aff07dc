//! Rows from columns.

use std::sync::Arc;

use jiff::SignedDuration;
use quorate_engine::{
    Json,
    delegation::Delegation,
    directory::{Group, Queue, User},
    expression::Expression,
    id::{JobId, StageRunId, StepRunId, SubmissionId, Tenant, UserName, WorkItemId},
    projection::{DecisionRow, JobRow, RecordLockRow, StageRunRow, StepRunRow, SubmissionRow, TimerRow, WorkItemRow},
    state::{Assignee, Verdict},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, VersionStatus, WorkItemStatus},
    timer::TimerKind,
};
use serde::de::DeserializeOwned;

use super::Columns;
use crate::{
    StoreError,
    catalog::{ApiTokenRow, CalendarVersionRow, FlowVersionRow, ProcessVersionRow},
    locks::{HeldLock, ManualLockRow},
    log::StoredEvent,
    query::WorkItemEntry,
    store::{
        AttemptKey, DueJob, LiveAttempt, OpenJobRow, OutboxLoad, PublishedEvents, RequestKey, RequestRow, TaskQueueLoad,
    },
};

type Result<T> = std::result::Result<T, StoreError>;

pub(crate) fn event(columns: &mut impl Columns) -> Result<StoredEvent> {
    Ok(StoredEvent {
        seq: columns.number()?,
        at: columns.time()?,
        kind: columns.text()?,
        body: columns.json()?,
        previous_hash: columns.hash()?,
        hash: columns.hash()?,
    })
}

pub(crate) fn published_events(columns: &mut impl Columns) -> Result<PublishedEvents> {
    let (tenant, submission) = submission_key(columns)?;
    Ok(PublishedEvents { tenant, submission, up_to: columns.number()? })
}

pub(crate) fn outbox_load(columns: &mut impl Columns) -> Result<OutboxLoad> {
    Ok(OutboxLoad { submissions: columns.number()?, oldest_since: columns.time_or_null()? })
}

pub(crate) fn task_queue_load(columns: &mut impl Columns) -> Result<TaskQueueLoad> {
    Ok(TaskQueueLoad {
        name: columns.text()?,
        waiting: columns.number()?,
        oldest_since: columns.time_or_null()?,
        running: columns.number()?,
        later: columns.number()?,
    })
}

pub(crate) fn submission(columns: &mut impl Columns) -> Result<SubmissionRow> {
    Ok(SubmissionRow {
        tenant: tenant(columns)?,
        id: SubmissionId(columns.uuid()?),
        version: columns.number()?,
        process: columns.text()?,
        process_version: columns.number()?,
        record_type: columns.text()?,
        record_id: columns.text()?,
        record_version: columns.number()?,
        record_digest: columns.text()?,
        submitter: UserName(columns.text()?),
        on_behalf_of: columns.text_or_null()?.map(UserName),
        comment: columns.text()?,
        summary: columns.text()?,
        status: columns.word(SubmissionStatus::parse)?,
        ending: columns.word_or_null(SubmissionStatus::parse)?,
        round: columns.number()?,
        stage: columns.text_or_null()?,
        awaits_time: columns.flag()?,
        failure_reason: columns.text_or_null()?,
        failure_message: columns.text_or_null()?,
        submitted_at: columns.time()?,
        ended_at: columns.time_or_null()?,
    })
}

pub(crate) fn stage_run(columns: &mut impl Columns) -> Result<StageRunRow> {
    Ok(StageRunRow {
        id: StageRunId(columns.uuid()?),
        stage: columns.text()?,
        round: columns.number()?,
        status: columns.word(StageRunStatus::parse)?,
        failure_reason: columns.text_or_null()?,
        failure_message: columns.text_or_null()?,
        started_at: columns.time()?,
        ended_at: columns.time_or_null()?,
    })
}

pub(crate) fn step_run(columns: &mut impl Columns) -> Result<StepRunRow> {
    Ok(StepRunRow {
        id: StepRunId(columns.uuid()?),
        stage_run: StageRunId(columns.uuid()?),
        stage: columns.text()?,
        step: columns.text()?,
        round: columns.number()?,
        status: columns.word(StepRunStatus::parse)?,
        outputs: columns.json_or_null()?.map(Arc::new),
        settled: columns.word_or_null(verdict)?,
        flow: columns.text_or_null()?,
        flow_version: columns.small_or_null()?,
        attempt: columns.small_or_null()?,
        failure_reason: columns.text_or_null()?,
        failure_message: columns.text_or_null()?,
        started_at: columns.time_or_null()?,
        ended_at: columns.time_or_null()?,
        due_at: columns.time_or_null()?,
        overridden_by: columns.text_or_null()?.map(UserName),
    })
}

pub(crate) fn timer(columns: &mut impl Columns) -> Result<TimerRow> {
    let (kind, subject) = (columns.text()?, columns.uuid()?);
    let kind = TimerKind::from_parts(&kind, subject)
        .ok_or_else(|| StoreError::Internal(format!("a stored timer has the unknown kind `{kind}`")))?;
    Ok(TimerRow { kind, due_at: columns.time()? })
}

pub(crate) fn record_lock(columns: &mut impl Columns) -> Result<RecordLockRow> {
    Ok(RecordLockRow {
        step_run: StepRunId(columns.uuid()?),
        record_type: columns.text()?,
        record_id: columns.text()?,
        process: columns.text()?,
        stage: columns.text()?,
        step: columns.text()?,
        allow_reviewer_edit: columns.flag()?,
        since: columns.time()?,
    })
}

pub(crate) fn held_lock(columns: &mut impl Columns) -> Result<HeldLock> {
    Ok(HeldLock { submission: SubmissionId(columns.uuid()?), lock: record_lock(columns)? })
}

pub(crate) fn manual_lock(columns: &mut impl Columns) -> Result<ManualLockRow> {
    Ok(ManualLockRow {
        record_type: columns.text()?,
        record_id: columns.text()?,
        holder: columns.text()?,
        reason: columns.text()?,
        locked_by: columns.text()?,
        locked_at: columns.time()?,
        until: columns.time_or_null()?,
    })
}

pub(crate) fn work_item(columns: &mut impl Columns) -> Result<WorkItemRow> {
    Ok(WorkItemRow {
        id: WorkItemId(columns.uuid()?),
        step_run: StepRunId(columns.uuid()?),
        process: columns.text()?,
        stage: columns.text()?,
        step: columns.text()?,
        assignee_kind: columns.word(|kind| Assignee::from_parts(kind, "").map(|assignee| assignee.kind()))?,
        assignee: columns.text()?,
        reason: columns.text()?,
        status: columns.word(WorkItemStatus::parse)?,
        assigned_at: columns.time()?,
        closed_at: columns.time_or_null()?,
        weight: columns.number()?,
        veto: columns.flag()?,
        due_at: columns.time_or_null()?,
        claimed_by: columns.text_or_null()?.map(UserName),
        claimed_until: columns.time_or_null()?,
        question: columns.text_or_null()?,
        question_by: columns.text_or_null()?.map(UserName),
        question_at: columns.time_or_null()?,
    })
}

pub(crate) fn decision(columns: &mut impl Columns) -> Result<DecisionRow> {
    let work_item = columns.uuid()?;
    decision_on(WorkItemId(work_item), columns)
}

fn decision_on(work_item: WorkItemId, columns: &mut impl Columns) -> Result<DecisionRow> {
    Ok(DecisionRow {
        work_item,
        step_run: StepRunId(columns.uuid()?),
        verdict: columns.word(verdict)?,
        actor: UserName(columns.text()?),
        comment: columns.text()?,
        channel: columns.text()?,
        record_digest: columns.text()?,
        decided_at: columns.time()?,
        on_behalf_of: columns.text_or_null()?.map(UserName),
        delegation: columns.text_or_null()?,
    })
}

/// A work item, its submission, and its decision, whose columns are null where there is none.
pub(crate) fn work_item_entry(columns: &mut impl Columns) -> Result<WorkItemEntry> {
    let item = work_item(columns)?;
    let submission = submission(columns)?;
    let decided = columns.uuid_or_null()?;
    let decision = decided.map(|id| decision_on(WorkItemId(id), columns)).transpose()?;
    Ok(WorkItemEntry { item, decision, submission })
}

pub(crate) fn live_attempt(columns: &mut impl Columns) -> Result<LiveAttempt> {
    Ok(LiveAttempt { job: JobId(columns.uuid()?), attempt: columns.number()?, status: columns.word(JobStatus::parse)? })
}

pub(crate) fn open_job(columns: &mut impl Columns) -> Result<OpenJobRow> {
    Ok(OpenJobRow {
        tenant: tenant(columns)?,
        submission: SubmissionId(columns.uuid()?),
        job: JobRow {
            id: JobId(columns.uuid()?),
            step_run: columns.uuid_or_null()?.map(StepRunId),
            process: columns.text()?,
            stage: columns.text()?,
            step: columns.text()?,
            spec: Arc::new(parsed(columns.json()?)?),
            attempt: columns.number()?,
            token: columns.text()?,
            status: columns.word(JobStatus::parse)?,
            available_at: columns.time()?,
            started_at: columns.time_or_null()?,
            deadline: columns.time_or_null()?,
            heartbeat_timeout: columns.number_or_null()?.map(SignedDuration::from_millis),
        },
        heartbeat_at: columns.time_or_null()?,
        deliveries: columns.number()?,
    })
}

/// A job as the engine knows it: that it was published is the store's own knowledge.
pub(crate) fn projected_job(columns: &mut impl Columns) -> Result<JobRow> {
    let mut job = open_job(columns)?.job;
    if job.status == JobStatus::Published {
        job.status = JobStatus::Pending;
    }
    Ok(job)
}

pub(crate) fn due_job(columns: &mut impl Columns) -> Result<DueJob> {
    Ok(DueJob {
        key: AttemptKey {
            tenant: tenant(columns)?,
            submission: SubmissionId(columns.uuid()?),
            job: JobId(columns.uuid()?),
            attempt: columns.number()?,
        },
        heartbeat_at: columns.time_or_null()?,
    })
}

pub(crate) fn job_count(columns: &mut impl Columns) -> Result<(JobStatus, u64)> {
    Ok((columns.word(JobStatus::parse)?, columns.number()?))
}

pub(crate) fn request(columns: &mut impl Columns) -> Result<RequestRow> {
    Ok(RequestRow {
        key: RequestKey { tenant: tenant(columns)?, principal: columns.text()?, request_id: columns.text()? },
        digest: columns.hash()?,
        submission: columns.uuid_or_null()?.map(SubmissionId),
        version: columns.number()?,
        answer: columns.bytes_or_null()?,
        at: columns.time()?,
    })
}

pub(crate) fn process_version(columns: &mut impl Columns) -> Result<ProcessVersionRow> {
    Ok(ProcessVersionRow {
        name: columns.text()?,
        version: columns.number()?,
        status: columns.word(VersionStatus::parse)?,
        title: columns.text()?,
        record_type: columns.text()?,
        definition: columns.text()?,
        digest: columns.hash()?,
        published_by: columns.text()?,
        published_at: columns.time()?,
    })
}

pub(crate) fn flow_version(columns: &mut impl Columns) -> Result<FlowVersionRow> {
    Ok(FlowVersionRow {
        name: columns.text()?,
        version: columns.number()?,
        status: columns.word(VersionStatus::parse)?,
        flow_type: columns.text()?,
        task_queue: columns.text()?,
        definition: columns.text()?,
        digest: columns.hash()?,
        published_by: columns.text()?,
        published_at: columns.time()?,
    })
}

pub(crate) fn calendar_version(columns: &mut impl Columns) -> Result<CalendarVersionRow> {
    Ok(CalendarVersionRow {
        name: columns.text()?,
        version: columns.number()?,
        status: columns.word(VersionStatus::parse)?,
        title: columns.text()?,
        time_zone: columns.text()?,
        definition: columns.text()?,
        digest: columns.hash()?,
        published_by: columns.text()?,
        published_at: columns.time()?,
    })
}

pub(crate) fn user(columns: &mut impl Columns) -> Result<User> {
    Ok(User {
        name: columns.text()?,
        active: columns.flag()?,
        manager: columns.text_or_null()?,
        email: columns.text_or_null()?,
        time_zone: columns.text_or_null()?,
    })
}

pub(crate) fn group(columns: &mut impl Columns) -> Result<Group> {
    Ok(Group { name: columns.text()?, members: parsed(columns.json()?)?, groups: parsed(columns.json()?)? })
}

pub(crate) fn queue(columns: &mut impl Columns) -> Result<Queue> {
    Ok(Queue { name: columns.text()?, members: parsed(columns.json()?)?, groups: parsed(columns.json()?)? })
}

pub(crate) fn delegation(columns: &mut impl Columns) -> Result<Delegation> {
    Ok(Delegation {
        name: columns.text()?,
        from: columns.text()?,
        to: columns.text()?,
        start: columns.time()?,
        end: columns.time()?,
        processes: parsed(columns.json()?)?,
        when: columns.text_or_null()?.map(|when| expression(&when)).transpose()?,
        alternates: parsed(columns.json()?)?,
    })
}

pub(crate) fn api_token(columns: &mut impl Columns) -> Result<ApiTokenRow> {
    Ok(ApiTokenRow {
        hash: columns.hash()?,
        id: columns.text()?,
        tenant: tenant(columns)?,
        principal: columns.text()?,
        roles: parsed(columns.json()?)?,
        note: columns.text()?,
        created_at: columns.time()?,
    })
}

/// The key of a submission.
pub(crate) fn submission_key(columns: &mut impl Columns) -> Result<(Tenant, SubmissionId)> {
    Ok((tenant(columns)?, SubmissionId(columns.uuid()?)))
}

fn tenant(columns: &mut impl Columns) -> Result<Tenant> {
    columns.text().map(Tenant)
}

fn verdict(text: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == text)
}

fn expression(source: &str) -> Result<Expression> {
    Expression::parse(source)
        .map_err(|error| StoreError::Internal(format!("the stored expression `{source}` cannot be read: {error}")))
}

fn parsed<T: DeserializeOwned>(json: Json) -> Result<T> {
    serde_json::from_value(json).map_err(|error| StoreError::Internal(format!("stored JSON cannot be read: {error}")))
}
