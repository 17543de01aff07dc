-- Locks of records: those that steps hold, and those that people and services set by hand.

create table record_lock (
    tenant text not null,
    submission uuid not null,
    step_run uuid not null,
    record_type text not null,
    record_id text not null,
    process text not null,
    stage text not null,
    step text not null,
    allow_reviewer_edit boolean not null,
    since timestamptz not null,
    primary key (tenant, submission, step_run)
);
comment on table record_lock is 'Locks that steps in progress hold. A row leaves with its lock.';
create index record_lock_of_record on record_lock (tenant, record_id, record_type);

create table manual_lock (
    tenant text not null,
    record_type text not null,
    record_id text not null,
    holder text not null,
    reason text not null,
    locked_by text not null,
    locked_at timestamptz not null,
    until timestamptz,
    primary key (tenant, record_type, record_id, holder)
);
comment on table manual_lock is 'Locks that were set by hand. One whose time is over counts no more, and leaves with the next change.';
