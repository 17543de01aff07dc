//! Rows as values.

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    delegation::Delegation,
    directory::{Group, Queue, User},
    expression::Expression,
    id::{SubmissionId, Tenant, UserName},
    projection::{DecisionRow, JobRow, RecordLockRow, StageRunRow, StepRunRow, SubmissionRow, TimerRow, WorkItemRow},
    state::Verdict,
    status::SubmissionStatus,
    timer::TimerKind,
};

use super::{Values, deliver_at, due_at};
use crate::{
    canonical::canonical_text,
    catalog::{ApiTokenRow, CalendarVersionRow, FlowVersionRow, ProcessVersionRow},
    locks::ManualLockRow,
    log::StoredEvent,
    store::{AttemptKey, Heartbeat, PublishedEvents, RequestRow, SubmissionCommit},
};

/// The key that every row of a submission begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) submission: SubmissionId,
}

pub(crate) fn owner<'a>(values: &mut impl Values<'a>, owner: Owner<'a>) {
    values.text(Some(owner.tenant.as_str()));
    values.uuid(Some(owner.submission.0));
}

pub(crate) fn event<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a StoredEvent) {
    owner(values, of);
    values.number(Some(row.seq.cast_signed()));
    values.time(Some(row.at));
    values.text(Some(&row.kind));
    values.json(Some(canonical_text(&row.body)));
    values.bytes(Some(&row.previous_hash));
    values.bytes(Some(&row.hash));
}

pub(crate) fn submission<'a>(values: &mut impl Values<'a>, row: &'a SubmissionRow, now: Timestamp) {
    values.text(Some(row.tenant.as_str()));
    values.uuid(Some(row.id.0));
    values.number(Some(row.version.cast_signed()));
    values.text(Some(&row.process));
    values.number(Some(row.process_version.into()));
    values.text(Some(&row.record_type));
    values.text(Some(&row.record_id));
    values.number(Some(row.record_version.into()));
    values.text(Some(&row.record_digest));
    values.text(Some(row.submitter.as_str()));
    values.text(row.on_behalf_of.as_ref().map(UserName::as_str));
    values.text(Some(&row.comment));
    values.text(Some(&row.summary));
    values.text(Some(row.status.as_str()));
    values.text(row.ending.map(SubmissionStatus::as_str));
    values.number(Some(row.round.into()));
    values.text(row.stage.as_deref());
    values.flag(row.awaits_time);
    values.text(row.failure_reason.as_deref());
    values.text(row.failure_message.as_deref());
    values.time(Some(row.submitted_at));
    values.time(row.ended_at);
    values.time(row.awaits_time.then_some(now));
}

pub(crate) fn stage_run<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a StageRunRow) {
    owner(values, of);
    values.uuid(Some(row.id.0));
    values.text(Some(&row.stage));
    values.number(Some(row.round.into()));
    values.text(Some(row.status.as_str()));
    values.text(row.failure_reason.as_deref());
    values.text(row.failure_message.as_deref());
    values.time(Some(row.started_at));
    values.time(row.ended_at);
}

pub(crate) fn step_run<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a StepRunRow) {
    owner(values, of);
    values.uuid(Some(row.id.0));
    values.uuid(Some(row.stage_run.0));
    values.text(Some(&row.stage));
    values.text(Some(&row.step));
    values.number(Some(row.round.into()));
    values.text(Some(row.status.as_str()));
    values.json(row.outputs.as_deref().map(canonical_text));
    values.text(row.settled.map(Verdict::as_str));
    values.text(row.flow.as_deref());
    values.number(row.flow_version.map(i64::from));
    values.number(row.attempt.map(i64::from));
    values.text(row.failure_reason.as_deref());
    values.text(row.failure_message.as_deref());
    values.time(row.started_at);
    values.time(row.ended_at);
    values.time(row.due_at);
    values.text(row.overridden_by.as_ref().map(UserName::as_str));
}

pub(crate) fn timer<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a TimerRow) {
    timer_key(values, of, row.kind);
    values.time(Some(row.due_at));
}

pub(crate) fn record_lock<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a RecordLockRow) {
    owner(values, of);
    values.uuid(Some(row.step_run.0));
    values.text(Some(&row.record_type));
    values.text(Some(&row.record_id));
    values.text(Some(&row.process));
    values.text(Some(&row.stage));
    values.text(Some(&row.step));
    values.flag(row.allow_reviewer_edit);
    values.time(Some(row.since));
}

pub(crate) fn manual_lock<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a ManualLockRow) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.record_type));
    values.text(Some(&row.record_id));
    values.text(Some(&row.holder));
    values.text(Some(&row.reason));
    values.text(Some(&row.locked_by));
    values.time(Some(row.locked_at));
    values.time(row.until);
}

pub(crate) fn timer_key<'a>(values: &mut impl Values<'a>, of: Owner<'a>, kind: TimerKind) {
    owner(values, of);
    values.text(Some(kind.as_str()));
    values.uuid(Some(kind.subject()));
}

pub(crate) fn work_item<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a WorkItemRow) {
    owner(values, of);
    values.uuid(Some(row.id.0));
    values.uuid(Some(row.step_run.0));
    values.text(Some(&row.process));
    values.text(Some(&row.stage));
    values.text(Some(&row.step));
    values.text(Some(row.assignee_kind));
    values.text(Some(&row.assignee));
    values.text(Some(&row.reason));
    values.text(Some(row.status.as_str()));
    values.time(Some(row.assigned_at));
    values.time(row.closed_at);
    values.number(Some(row.weight.into()));
    values.flag(row.veto);
    values.time(row.due_at);
    values.text(row.claimed_by.as_ref().map(UserName::as_str));
    values.time(row.claimed_until);
    values.text(row.question.as_deref());
    values.text(row.question_by.as_ref().map(UserName::as_str));
    values.time(row.question_at);
}

pub(crate) fn decision<'a>(values: &mut impl Values<'a>, of: Owner<'a>, row: &'a DecisionRow) {
    owner(values, of);
    values.uuid(Some(row.work_item.0));
    values.uuid(Some(row.step_run.0));
    values.text(Some(row.verdict.as_str()));
    values.text(Some(row.actor.as_str()));
    values.text(Some(&row.comment));
    values.text(Some(&row.channel));
    values.text(Some(&row.record_digest));
    values.time(Some(row.decided_at));
    values.text(row.on_behalf_of.as_ref().map(UserName::as_str));
    values.text(row.delegation.as_deref());
}

pub(crate) fn job<'a>(
    values: &mut impl Values<'a>,
    of: Owner<'a>,
    row: &'a JobRow,
    now: Timestamp,
    publish_grace: SignedDuration,
) {
    owner(values, of);
    values.uuid(Some(row.id.0));
    values.uuid(row.step_run.map(|step_run| step_run.0));
    values.text(Some(&row.process));
    values.text(Some(&row.stage));
    values.text(Some(&row.step));
    values.json(Some(canonical_text(row.spec.as_ref())));
    values.number(Some(row.attempt.into()));
    values.text(Some(&row.token));
    values.text(Some(row.status.as_str()));
    values.time(Some(row.available_at));
    values.time(row.started_at);
    values.time(row.deadline);
    values.number(row.heartbeat_timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)));
    values.time(row.started_at);
    values.text(Some(&row.spec.task_queue));
    values.text(Some(&row.spec.flow.name));
    values.time(deliver_at(row, now, publish_grace));
    values.time(due_at(row.deadline, row.started_at, row.heartbeat_timeout));
}

/// The entry of the outbox that holds what a commit stores.
pub(crate) fn outbox<'a>(
    values: &mut impl Values<'a>,
    row: &'a SubmissionCommit,
    deliver_at: Timestamp,
    since: Timestamp,
) {
    owner(values, Owner { tenant: &row.tenant, submission: row.id });
    values.number(Some(row.expected_version.cast_signed()));
    values.number(Some((row.expected_version + row.events.len() as u64).cast_signed()));
    values.time(Some(deliver_at));
    values.time(Some(since));
}

pub(crate) fn published_events<'a>(values: &mut impl Values<'a>, row: &'a PublishedEvents) {
    owner(values, Owner { tenant: &row.tenant, submission: row.submission });
    values.number(Some(row.up_to.cast_signed()));
}

pub(crate) fn attempt<'a>(values: &mut impl Values<'a>, row: &'a AttemptKey) {
    owner(values, Owner { tenant: &row.tenant, submission: row.submission });
    values.uuid(Some(row.job.0));
    values.number(Some(row.attempt.into()));
}

pub(crate) fn heartbeat<'a>(values: &mut impl Values<'a>, row: &'a Heartbeat) {
    owner(values, Owner { tenant: &row.tenant, submission: row.submission });
    values.uuid(Some(row.job.0));
    values.number(Some(row.attempt.into()));
    values.time(Some(row.at));
}

pub(crate) fn request<'a>(values: &mut impl Values<'a>, row: &'a RequestRow) {
    values.text(Some(row.key.tenant.as_str()));
    values.text(Some(&row.key.principal));
    values.text(Some(&row.key.request_id));
    values.bytes(Some(&row.digest));
    values.uuid(row.submission.map(|id| id.0));
    values.number(Some(row.version.cast_signed()));
    values.bytes(row.answer.as_deref());
    values.time(Some(row.at));
}

pub(crate) fn process_version<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a ProcessVersionRow) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.number(Some(row.version.into()));
    values.text(Some(row.status.as_str()));
    values.text(Some(&row.title));
    values.text(Some(&row.record_type));
    values.text(Some(&row.definition));
    values.bytes(Some(&row.digest));
    values.text(Some(&row.published_by));
    values.time(Some(row.published_at));
}

pub(crate) fn flow_version<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a FlowVersionRow) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.number(Some(row.version.into()));
    values.text(Some(row.status.as_str()));
    values.text(Some(&row.flow_type));
    values.text(Some(&row.task_queue));
    values.text(Some(&row.definition));
    values.bytes(Some(&row.digest));
    values.text(Some(&row.published_by));
    values.time(Some(row.published_at));
}

pub(crate) fn calendar_version<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a CalendarVersionRow) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.number(Some(row.version.into()));
    values.text(Some(row.status.as_str()));
    values.text(Some(&row.title));
    values.text(Some(&row.time_zone));
    values.text(Some(&row.definition));
    values.bytes(Some(&row.digest));
    values.text(Some(&row.published_by));
    values.time(Some(row.published_at));
}

pub(crate) fn user<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a User) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.flag(row.active);
    values.text(row.manager.as_deref());
    values.text(row.email.as_deref());
    values.text(row.time_zone.as_deref());
}

pub(crate) fn group<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a Group) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.json(Some(canonical_text(&row.members)));
    values.json(Some(canonical_text(&row.groups)));
}

pub(crate) fn queue<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a Queue) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.json(Some(canonical_text(&row.members)));
    values.json(Some(canonical_text(&row.groups)));
}

pub(crate) fn delegation<'a>(values: &mut impl Values<'a>, tenant: &'a Tenant, row: &'a Delegation) {
    values.text(Some(tenant.as_str()));
    values.text(Some(&row.name));
    values.text(Some(&row.from));
    values.text(Some(&row.to));
    values.time(Some(row.start));
    values.time(Some(row.end));
    values.json(Some(canonical_text(&row.processes)));
    values.text(row.when.as_ref().map(Expression::source));
    values.json(Some(canonical_text(&row.alternates)));
}

pub(crate) fn api_token<'a>(values: &mut impl Values<'a>, row: &'a ApiTokenRow) {
    values.bytes(Some(&row.hash));
    values.text(Some(&row.id));
    values.text(Some(row.tenant.as_str()));
    values.text(Some(&row.principal));
    values.json(Some(canonical_text(&row.roles)));
    values.text(Some(&row.note));
    values.time(Some(row.created_at));
}
