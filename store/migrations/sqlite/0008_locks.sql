-- Locks of records: those that steps hold, and those that people and services set by hand.

create table record_lock (
    tenant text not null,
    submission text not null,
    step_run text not null,
    record_type text not null,
    record_id text not null,
    process text not null,
    stage text not null,
    step text not null,
    allow_reviewer_edit integer not null,
    since text not null,
    primary key (tenant, submission, step_run)
) strict, without rowid;
create index record_lock_of_record on record_lock (tenant, record_id, record_type);

create table manual_lock (
    tenant text not null,
    record_type text not null,
    record_id text not null,
    holder text not null,
    reason text not null,
    locked_by text not null,
    locked_at text not null,
    until text,
    primary key (tenant, record_type, record_id, holder)
) strict, without rowid;
