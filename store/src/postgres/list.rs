//! Reads: histories, lists, the stored projection.

use deadpool_postgres::Pool;
use quorate_engine::{
    id::{JobId, SubmissionId, Tenant, WorkItemId},
    projection::{Projection, SubmissionRow},
    status::{JobStatus, SubmissionStatus, WorkItemStatus},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    commit::keys,
    session::{Param, Session},
    sql,
};
use crate::{
    StoreError,
    log::StoredEvent,
    query::{AssigneeScope, JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery, page_rows},
    rows::{Columns, read},
    store::{LiveAttempt, OpenJobRow},
};

pub(super) async fn history(
    pool: &Pool,
    tenant: &Tenant,
    submission: SubmissionId,
    after: u64,
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    let session = Session::open(pool).await?;
    let params: [Param<'_>; 4] = [&tenant.as_str(), &submission.0, &after.cast_signed(), &page_rows(limit)];
    let events = session.rows(sql!("event/page"), &params, read::event).await?;
    session.release();
    Ok(events)
}

pub(super) async fn versions(
    pool: &Pool,
    submissions: &[(Tenant, SubmissionId)],
) -> Result<Vec<(SubmissionId, u64)>, StoreError> {
    let session = Session::open(pool).await?;
    let (tenants, ids) = keys(submissions);
    let params: [Param<'_>; 2] = [&tenants, &ids];
    let versions = session
        .rows(sql!("submission/versions"), &params, |columns| Ok((SubmissionId(columns.uuid()?), columns.number()?)))
        .await?;
    session.release();
    Ok(versions)
}

pub(super) async fn submissions_of(
    pool: &Pool,
    tenant: &Tenant,
    work_items: &[WorkItemId],
) -> Result<Vec<(WorkItemId, SubmissionId)>, StoreError> {
    let session = Session::open(pool).await?;
    let ids: Vec<Uuid> = work_items.iter().map(|id| id.0).collect();
    let params: [Param<'_>; 2] = [&tenant.as_str(), &ids];
    let found = session
        .rows(sql!("work_item/submissions_of"), &params, |columns| {
            Ok((WorkItemId(columns.uuid()?), SubmissionId(columns.uuid()?)))
        })
        .await?;
    session.release();
    Ok(found)
}

pub(super) async fn list_submissions(pool: &Pool, query: &SubmissionQuery) -> Result<Vec<SubmissionRow>, StoreError> {
    let sql = if query.descending { sql!("submission/list_newest") } else { sql!("submission/list_oldest") };
    let (after_at, after_id) = query.after.map(|(at, id)| (at, id.0)).unzip();
    let session = Session::open(pool).await?;
    let params: [(Param<'_>, Type); 9] = [
        (&query.tenant.as_str(), Type::TEXT),
        (&query.process, Type::TEXT),
        (&query.status.map(SubmissionStatus::as_str), Type::TEXT),
        (&query.submitter, Type::TEXT),
        (&query.record_type, Type::TEXT),
        (&query.record_id, Type::TEXT),
        (&after_at, Type::TIMESTAMPTZ),
        (&after_id, Type::UUID),
        (&page_rows(query.limit), Type::INT8),
    ];
    let rows = session.rows_planned_afresh(sql, &params, read::submission).await?;
    session.release();
    Ok(rows)
}

pub(super) async fn list_work_items(pool: &Pool, query: &WorkItemQuery) -> Result<Vec<WorkItemEntry>, StoreError> {
    let status = query.status.map(WorkItemStatus::as_str);
    let (after_at, after_id) = query.after.map(|(at, id)| (at, id.0)).unzip();
    let tenant = query.tenant.as_str();
    let limit = page_rows(query.limit);
    let assignees = query.distinct_assignees();
    let column = |of: fn(&AssigneeScope) -> Option<&str>| -> Option<Vec<Option<&str>>> {
        assignees.as_ref().map(|scopes| scopes.iter().map(|scope| of(scope)).collect())
    };
    let kinds = column(|scope| Some(scope.assignee.kind()));
    let names = column(|scope| Some(scope.assignee.name()));
    let processes = column(|scope| scope.process.as_deref());
    let submission = query.submission.map(|id| id.0);

    let mut params: Vec<(Param<'_>, Type)> = vec![
        (&tenant, Type::TEXT),
        (&status, Type::TEXT),
        (&query.process, Type::TEXT),
        (&after_at, Type::TIMESTAMPTZ),
        (&after_id, Type::UUID),
        (&limit, Type::INT8),
    ];
    let sql = if submission.is_some() {
        params.push((&submission, Type::UUID));
        sql!("work_item/list_of_submission")
    } else if kinds.is_some() {
        sql!("work_item/list_of_assignees")
    } else {
        sql!("work_item/list")
    };
    if submission.is_some() || kinds.is_some() {
        params.extend([&kinds, &names, &processes].map(|column| (column as Param<'_>, Type::TEXT_ARRAY)));
    }
    let session = Session::open(pool).await?;
    let entries = session.rows_planned_afresh(sql, &params, read::work_item_entry).await?;
    session.release();
    Ok(entries)
}

pub(super) async fn list_jobs(pool: &Pool, query: &JobQuery) -> Result<Vec<OpenJobRow>, StoreError> {
    let session = Session::open(pool).await?;
    let params: [(Param<'_>, Type); 8] = [
        (&query.tenant.as_str(), Type::TEXT),
        (&query.task_queue, Type::TEXT),
        (&query.flow, Type::TEXT),
        (&query.status.map(JobStatus::as_str), Type::TEXT),
        (&query.id.map(|id| id.0), Type::UUID),
        (&query.submission.map(|id| id.0), Type::UUID),
        (&query.after.map(|id| id.0), Type::UUID),
        (&page_rows(query.limit), Type::INT8),
    ];
    let rows = session.rows_planned_afresh(sql!("job/list"), &params, read::open_job).await?;
    session.release();
    Ok(rows)
}

pub(super) async fn live_attempts(
    pool: &Pool,
    tenant: &Tenant,
    jobs: &[(SubmissionId, JobId)],
) -> Result<Vec<LiveAttempt>, StoreError> {
    let session = Session::open(pool).await?;
    let (submissions, ids): (Vec<Uuid>, Vec<Uuid>) = jobs.iter().map(|(submission, id)| (submission.0, id.0)).unzip();
    let params: [Param<'_>; 3] = [&tenant.as_str(), &submissions, &ids];
    let live = session.rows(sql!("job/live"), &params, read::live_attempt).await?;
    session.release();
    Ok(live)
}

pub(super) async fn count_jobs(pool: &Pool, tenant: &Tenant) -> Result<Vec<(JobStatus, u64)>, StoreError> {
    let session = Session::open(pool).await?;
    let counts = session.rows(sql!("job/count"), &[&tenant.as_str()], read::job_count).await?;
    session.release();
    Ok(counts)
}

pub(super) async fn projection(
    pool: &Pool,
    tenant: &Tenant,
    submission: SubmissionId,
) -> Result<Option<Projection>, StoreError> {
    let session = Session::open(pool).await?;
    // One snapshot for all tables: a commit between two of them would show rows that never stood side by side.
    session.run("begin isolation level repeatable read, read only").await?;
    let of: [Param<'_>; 2] = [&tenant.as_str(), &submission.0];
    let (submissions, stage_runs, step_runs, work_items, decisions, jobs, timers, locks) = futures::try_join!(
        session.rows(sql!("submission/get"), &of, read::submission),
        session.rows(sql!("stage_run/of_submission"), &of, read::stage_run),
        session.rows(sql!("step_run/of_submission"), &of, read::step_run),
        session.rows(sql!("work_item/of_submission"), &of, read::work_item),
        session.rows(sql!("decision/of_submission"), &of, read::decision),
        session.rows(sql!("job/of_submission"), &of, read::projected_job),
        session.rows(sql!("timer/of_submission"), &of, read::timer),
        session.rows(sql!("record_lock/of_submission"), &of, read::record_lock),
    )?;
    session.run("commit").await?;
    session.release();
    Ok(submissions.into_iter().next().map(|submission| Projection {
        submission,
        stage_runs: stage_runs.into_iter().map(|row| (row.id, row)).collect(),
        step_runs: step_runs.into_iter().map(|row| (row.id, row)).collect(),
        work_items: work_items.into_iter().map(|row| (row.id, row)).collect(),
        decisions: decisions.into_iter().map(|row| (row.work_item, row)).collect(),
        jobs: jobs.into_iter().map(|row| (row.id, row)).collect(),
        timers: timers.into_iter().map(|row| (row.kind, row)).collect(),
        record_locks: locks.into_iter().map(|row| (row.step_run, row)).collect(),
    }))
}
