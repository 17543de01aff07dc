-- Conditions that a flow answers: a job may be of a stage's exit condition, and then has no step run.

-- SQLite cannot take the constraint off a column, so the table is made anew.
create table job_of_any_condition (
    tenant text not null,
    submission text not null,
    id text not null,
    step_run text,
    process text not null,
    stage text not null,
    step text not null,
    spec text not null,
    attempt integer not null,
    token text not null,
    status text not null check (status in ('PENDING', 'PUBLISHED', 'RUNNING')),
    available_at text not null,
    started_at text,
    deadline text,
    heartbeat_timeout_ms integer,
    heartbeat_at text,
    task_queue text not null,
    flow text not null,
    deliver_at text,
    due_at text,
    due_claimed_until text,
    deliveries integer not null default 0,
    primary key (tenant, submission, id)
) strict;
insert into job_of_any_condition (
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at, due_claimed_until, deliveries
)
select
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at, due_claimed_until, deliveries
from job;
drop table job;
alter table job_of_any_condition rename to job;
create index job_by_id on job (tenant, id);
create index job_to_deliver on job (deliver_at) where deliver_at is not null;
create index job_due on job (due_at) where due_at is not null;
