-- The tables of PostgreSQL, whose migration says what they mean. Here times are text in RFC 3339 (UTC, six fractional digits, so
-- that they sort), ids are text, JSON is text. Tables with long rows keep their rowid: without one, long rows sit in the
-- inner pages of the tree.

create table event (
    tenant text not null,
    submission text not null,
    seq integer not null check (seq > 0),
    at text not null,
    kind text not null,
    body text not null,
    prev_hash blob not null check (length(prev_hash) = 32),
    hash blob not null check (length(hash) = 32),
    primary key (tenant, submission, seq)
) strict;

create table submission (
    tenant text not null,
    id text not null,
    version integer not null check (version > 0),
    process text not null,
    process_version integer not null,
    record_type text not null,
    record_id text not null,
    record_version integer not null,
    record_digest text not null,
    submitter text not null,
    on_behalf_of text,
    comment text not null,
    summary text not null,
    status text not null
        check (status in ('IN_PROGRESS', 'APPROVED', 'REJECTED', 'RECALLED', 'CANCELED', 'ERROR', 'SUSPENDED')),
    ending text check (ending in ('APPROVED', 'REJECTED', 'RECALLED', 'CANCELED', 'ERROR')),
    round integer not null,
    stage text,
    awaits_time integer not null check (awaits_time in (0, 1)),
    failure_reason text,
    failure_message text,
    submitted_at text not null,
    ended_at text,
    looked_at text,
    primary key (tenant, id)
) strict, without rowid;
create index submission_by_time on submission (tenant, submitted_at, id);
create index submission_by_process on submission (tenant, process, submitted_at, id);
create index submission_by_submitter on submission (tenant, submitter, submitted_at, id);
create index submission_by_record on submission (tenant, record_id, record_type, submitted_at, id);
create index submission_open on submission (tenant, status, submitted_at, id)
    where status in ('IN_PROGRESS', 'ERROR', 'SUSPENDED');
create index submission_waiting on submission (looked_at) where looked_at is not null;

create table stage_run (
    tenant text not null,
    submission text not null,
    id text not null,
    stage text not null,
    round integer not null,
    status text not null
        check (status in ('IN_PROGRESS', 'COMPLETED', 'DISCONTINUED', 'CANCELED', 'ERROR', 'SUSPENDED')),
    failure_reason text,
    failure_message text,
    started_at text not null,
    ended_at text,
    primary key (tenant, submission, id)
) strict, without rowid;

create table step_run (
    tenant text not null,
    submission text not null,
    id text not null,
    stage_run text not null,
    stage text not null,
    step text not null,
    round integer not null,
    status text not null
        check (status in ('NOT_STARTED', 'IN_PROGRESS', 'COMPLETED', 'DISCONTINUED', 'CANCELED', 'ERROR')),
    outputs text,
    settled text check (settled in ('APPROVE', 'REJECT')),
    flow text,
    flow_version integer,
    attempt integer,
    failure_reason text,
    failure_message text,
    started_at text,
    ended_at text,
    primary key (tenant, submission, id)
) strict;

create table work_item (
    tenant text not null,
    submission text not null,
    id text not null,
    step_run text not null,
    process text not null,
    stage text not null,
    step text not null,
    assignee_kind text not null check (assignee_kind in ('user', 'group', 'queue')),
    assignee text not null,
    reason text not null,
    status text not null check (status in
        ('ASSIGNED', 'APPROVED', 'REJECTED', 'ABSTAINED', 'WITHDRAWN', 'CANCELED', 'RECALLED', 'ERRORED')),
    assigned_at text not null,
    closed_at text,
    primary key (tenant, submission, id)
) strict;
create index work_item_by_id on work_item (tenant, id);
-- The inbox. It holds open items only, and so stays as small as the work that is open.
create index work_item_open_by_assignee on work_item (tenant, assignee_kind, assignee, assigned_at, id)
    where status = 'ASSIGNED';
create index work_item_open_by_time on work_item (tenant, assigned_at, id) where status = 'ASSIGNED';
create index work_item_closed_by_assignee on work_item (tenant, assignee_kind, assignee, assigned_at, id)
    where status <> 'ASSIGNED';
create index work_item_closed_by_time on work_item (tenant, assigned_at, id) where status <> 'ASSIGNED';

create table decision (
    tenant text not null,
    submission text not null,
    work_item text not null,
    step_run text not null,
    verdict text not null check (verdict in ('APPROVE', 'REJECT')),
    actor text not null,
    comment text not null,
    channel text not null,
    record_digest text not null,
    decided_at text not null,
    primary key (tenant, submission, work_item)
) strict, without rowid;

create table job (
    tenant text not null,
    submission text not null,
    id text not null,
    step_run text not null,
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
create index job_by_id on job (tenant, id);
create index job_to_deliver on job (deliver_at) where deliver_at is not null;
create index job_due on job (due_at) where due_at is not null;

create table request (
    tenant text not null,
    principal text not null,
    request_id text not null,
    digest blob not null check (length(digest) = 32),
    submission text,
    version integer not null,
    answer blob,
    at text not null,
    primary key (tenant, principal, request_id)
) strict;
create index request_by_time on request (at);

create table catalog (
    tenant text primary key,
    version integer not null
) strict, without rowid;

create table process_version (
    tenant text not null,
    name text not null,
    version integer not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    title text not null,
    record_type text not null,
    definition text not null,
    digest blob not null check (length(digest) = 32),
    published_by text not null,
    published_at text not null,
    primary key (tenant, name, version)
) strict;
create unique index process_version_one_active on process_version (tenant, name) where status = 'ACTIVE';

create table flow_version (
    tenant text not null,
    name text not null,
    version integer not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    flow_type text not null check (flow_type in ('autolaunched', 'screen', 'evaluation')),
    task_queue text not null,
    definition text not null,
    digest blob not null check (length(digest) = 32),
    published_by text not null,
    published_at text not null,
    primary key (tenant, name, version)
) strict;
create unique index flow_version_one_active on flow_version (tenant, name) where status = 'ACTIVE';

create table directory_user (
    tenant text not null,
    name text not null,
    active integer not null check (active in (0, 1)),
    manager text,
    email text,
    primary key (tenant, name)
) strict, without rowid;

create table directory_group (
    tenant text not null,
    name text not null,
    members text not null,
    groups text not null,
    primary key (tenant, name)
) strict, without rowid;

create table directory_queue (
    tenant text not null,
    name text not null,
    members text not null,
    groups text not null,
    primary key (tenant, name)
) strict, without rowid;

create table api_token (
    hash blob primary key check (length(hash) = 32),
    id text not null unique,
    tenant text not null,
    principal text not null,
    roles text not null,
    note text not null,
    created_at text not null
) strict, without rowid;
