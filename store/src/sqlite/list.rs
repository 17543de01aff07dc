//! Reads: lists, the stored projection.

use quorate_engine::{
    id::{JobId, SubmissionId, Tenant},
    projection::{Projection, SubmissionRow},
    status::{JobStatus, SubmissionStatus, WorkItemStatus},
};
use rusqlite::Connection;

use super::{
    columns::{row, rows, time_text},
    error::from_sqlite,
    sql,
};
use crate::{
    StoreError,
    query::{AssigneeScope, JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery, page_rows},
    rows::read,
    store::{LiveAttempt, OpenJobRow},
};

pub(super) fn list_submissions(
    connection: &Connection,
    query: &SubmissionQuery,
) -> Result<Vec<SubmissionRow>, StoreError> {
    let sql = match (query.descending, &query.record_id, &query.submitter) {
        (true, Some(_), _) => sql!("submission/list_of_record_newest"),
        (true, None, Some(_)) => sql!("submission/list_of_submitter_newest"),
        (true, None, None) => sql!("submission/list_newest"),
        (false, Some(_), _) => sql!("submission/list_of_record_oldest"),
        (false, None, Some(_)) => sql!("submission/list_of_submitter_oldest"),
        (false, None, None) => sql!("submission/list_oldest"),
    };
    let (after_at, after_id) = query.after.map(|(at, id)| (time_text(at), id.to_string())).unzip();
    let params = (
        query.tenant.as_str(),
        &query.process,
        query.status.map(SubmissionStatus::as_str),
        &query.submitter,
        &query.record_type,
        &query.record_id,
        after_at,
        after_id,
        page_rows(query.limit),
    );
    rows(connection, sql, params, |columns| read::submission(columns))
}

/// A page of work items. Where there are several assignees, or both open and closed items are asked for, there is a page of
/// each, and the first rows of all of them are the page.
pub(super) fn list_work_items(
    connection: &Connection,
    query: &WorkItemQuery,
) -> Result<Vec<WorkItemEntry>, StoreError> {
    let assignees: Vec<Option<&AssigneeScope>> = match query.distinct_assignees() {
        Some(assignees) => assignees.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let mut entries = Vec::new();
    for assignee in assignees {
        // Of two processes there is no item.
        let scope = assignee.and_then(|assignee| assignee.process.as_ref());
        if scope.is_some() && query.process.is_some() && scope != query.process.as_ref() {
            continue;
        }
        if query.submission.is_some() {
            entries.extend(entries_of_submission(connection, query, assignee)?);
            continue;
        }
        let (open, closed) = match assignee {
            Some(_) => (sql!("work_item/list_open_of_assignee"), sql!("work_item/list_closed_of_assignee")),
            None => (sql!("work_item/list_open"), sql!("work_item/list_closed")),
        };
        if query.status.is_none_or(|status| status == WorkItemStatus::Assigned) {
            entries.extend(page_of_entries(connection, open, query, assignee)?);
        }
        if query.status != Some(WorkItemStatus::Assigned) {
            entries.extend(page_of_entries(connection, closed, query, assignee)?);
        }
    }
    entries.sort_by_key(|entry| (entry.item.assigned_at, entry.item.id));
    entries.truncate(usize::try_from(page_rows(query.limit)).unwrap_or(usize::MAX));
    Ok(entries)
}

fn page_of_entries(
    connection: &Connection,
    sql: &'static str,
    query: &WorkItemQuery,
    assignee: Option<&AssigneeScope>,
) -> Result<Vec<WorkItemEntry>, StoreError> {
    let (after_at, after_id) = query.after.map(|(at, id)| (time_text(at), id.to_string())).unzip();
    let status = query.status.map(WorkItemStatus::as_str);
    let process = query.process.as_ref().or(assignee.and_then(|assignee| assignee.process.as_ref()));
    let all = (query.tenant.as_str(), status, process, after_at, after_id, page_rows(query.limit));
    match assignee {
        None => rows(connection, sql, all, |columns| read::work_item_entry(columns)),
        Some(AssigneeScope { assignee, .. }) => {
            let params = (all.0, all.1, all.2, all.3, all.4, all.5, assignee.kind(), assignee.name());
            rows(connection, sql, params, |columns| read::work_item_entry(columns))
        }
    }
}

fn entries_of_submission(
    connection: &Connection,
    query: &WorkItemQuery,
    assignee: Option<&AssigneeScope>,
) -> Result<Vec<WorkItemEntry>, StoreError> {
    let (after_at, after_id) = query.after.map(|(at, id)| (time_text(at), id.to_string())).unzip();
    let params = (
        query.tenant.as_str(),
        query.status.map(WorkItemStatus::as_str),
        query.process.as_ref().or(assignee.and_then(|assignee| assignee.process.as_ref())),
        after_at,
        after_id,
        page_rows(query.limit),
        query.submission.map(|id| id.to_string()),
        assignee.map(|scope| scope.assignee.kind()),
        assignee.map(|scope| scope.assignee.name()),
    );
    rows(connection, sql!("work_item/list_of_submission"), params, |columns| read::work_item_entry(columns))
}

pub(super) fn list_jobs(connection: &Connection, query: &JobQuery) -> Result<Vec<OpenJobRow>, StoreError> {
    let all = (
        query.tenant.as_str(),
        &query.task_queue,
        &query.flow,
        query.status.map(JobStatus::as_str),
        query.submission.map(|id| id.to_string()),
        query.after.map(|id| id.to_string()),
        page_rows(query.limit),
    );
    match query.id {
        None => rows(connection, sql!("job/list"), all, |columns| read::open_job(columns)),
        Some(id) => {
            let params = (all.0, all.1, all.2, all.3, all.4, all.5, all.6, id.to_string());
            rows(connection, sql!("job/list_one"), params, |columns| read::open_job(columns))
        }
    }
}

pub(super) fn live_attempts(
    connection: &Connection,
    tenant: &Tenant,
    jobs: &[(SubmissionId, JobId)],
) -> Result<Vec<LiveAttempt>, StoreError> {
    let mut live = Vec::new();
    for (submission, job) in jobs {
        let params = (tenant.as_str(), submission.to_string(), job.to_string());
        live.extend(row(connection, sql!("job/live"), params, |columns| read::live_attempt(columns))?);
    }
    Ok(live)
}

pub(super) fn projection(
    connection: &mut Connection,
    tenant: &Tenant,
    submission: SubmissionId,
) -> Result<Option<Projection>, StoreError> {
    // One snapshot for all tables: a commit between two of them would show rows that never stood side by side.
    let snapshot = connection.transaction().map_err(from_sqlite)?;
    let id = submission.to_string();
    let of = [tenant.as_str(), id.as_str()];
    let Some(row) = row(&snapshot, sql!("submission/get"), of, |columns| read::submission(columns))? else {
        return Ok(None);
    };
    let stage_runs = rows(&snapshot, sql!("stage_run/of_submission"), of, |columns| read::stage_run(columns))?;
    let step_runs = rows(&snapshot, sql!("step_run/of_submission"), of, |columns| read::step_run(columns))?;
    let work_items = rows(&snapshot, sql!("work_item/of_submission"), of, |columns| read::work_item(columns))?;
    let decisions = rows(&snapshot, sql!("decision/of_submission"), of, |columns| read::decision(columns))?;
    let jobs = rows(&snapshot, sql!("job/of_submission"), of, |columns| read::projected_job(columns))?;
    let timers = rows(&snapshot, sql!("timer/of_submission"), of, |columns| read::timer(columns))?;
    let locks = rows(&snapshot, sql!("record_lock/of_submission"), of, |columns| read::record_lock(columns))?;
    Ok(Some(Projection {
        submission: row,
        stage_runs: stage_runs.into_iter().map(|row| (row.id, row)).collect(),
        step_runs: step_runs.into_iter().map(|row| (row.id, row)).collect(),
        work_items: work_items.into_iter().map(|row| (row.id, row)).collect(),
        decisions: decisions.into_iter().map(|row| (row.work_item, row)).collect(),
        jobs: jobs.into_iter().map(|row| (row.id, row)).collect(),
        timers: timers.into_iter().map(|row| (row.kind, row)).collect(),
        record_locks: locks.into_iter().map(|row| (row.step_run, row)).collect(),
    }))
}
