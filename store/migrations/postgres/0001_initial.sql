-- Every key begins with the tenant, and every table of a submission with (tenant, submission), so that the tables can be
-- distributed by submission. For the same reason nothing of a submission is unique without (tenant, submission).
-- There are no foreign keys: all rows of a submission are written by one transaction of its lane, and checking them again
-- would lock and read a row for each row written.

create table event (
    tenant text not null,
    submission uuid not null,
    seq bigint not null check (seq > 0),
    at timestamptz not null,
    kind text not null,
    body jsonb not null,
    prev_hash bytea not null check (octet_length(prev_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (tenant, submission, seq)
);
comment on table event is 'The log: the truth about every submission. Only ever appended to.';
comment on column event.seq is 'The place in the history of the submission, from 1 without a gap.';
comment on column event.prev_hash is 'The hash of the event before; zeros for the first.';
comment on column event.hash is 'SHA-256 over prev_hash, submission, seq, at, kind and body: a changed history shows.';

create table submission (
    tenant text not null,
    id uuid not null,
    version bigint not null check (version > 0),
    process text not null,
    process_version bigint not null,
    record_type text not null,
    record_id text not null,
    record_version bigint not null,
    record_digest text not null,
    submitter text not null,
    on_behalf_of text,
    comment text not null,
    summary text not null,
    status text not null
        check (status in ('IN_PROGRESS', 'APPROVED', 'REJECTED', 'RECALLED', 'CANCELED', 'ERROR', 'SUSPENDED')),
    ending text check (ending in ('APPROVED', 'REJECTED', 'RECALLED', 'CANCELED', 'ERROR')),
    round bigint not null,
    stage text,
    awaits_time boolean not null,
    failure_reason text,
    failure_message text,
    submitted_at timestamptz not null,
    ended_at timestamptz,
    looked_at timestamptz,
    primary key (tenant, id)
) with (fillfactor = 85);
comment on table submission is 'One row for each submission: what its events add up to.';
comment on column submission.version is 'The number of its events: what a commit checks.';
comment on column submission.ending is 'How it will end, while its rejection, recall or cancel path runs.';
comment on column submission.round is '1 plus the number of times that routing went back.';
comment on column submission.stage is 'The stage that is in progress or in error.';
comment on column submission.awaits_time is 'Whether a condition of its stage reads the time.';
comment on column submission.looked_at is
    'Where awaits_time: when it was last written, or claimed to be looked at again. Else null, so that updates stay in their page.';
create index submission_by_time on submission (tenant, submitted_at, id);
create index submission_by_process on submission (tenant, process, submitted_at, id);
create index submission_by_submitter on submission (tenant, submitter, submitted_at, id);
create index submission_by_record on submission (tenant, record_id, record_type, submitted_at, id);
create index submission_open on submission (tenant, status, submitted_at, id)
    where status in ('IN_PROGRESS', 'ERROR', 'SUSPENDED');
create index submission_waiting on submission (looked_at) where looked_at is not null;

create table stage_run (
    tenant text not null,
    submission uuid not null,
    id uuid not null,
    stage text not null,
    round bigint not null,
    status text not null
        check (status in ('IN_PROGRESS', 'COMPLETED', 'DISCONTINUED', 'CANCELED', 'ERROR', 'SUSPENDED')),
    failure_reason text,
    failure_message text,
    started_at timestamptz not null,
    ended_at timestamptz,
    primary key (tenant, submission, id)
) with (fillfactor = 85);
comment on column stage_run.round is 'How often this stage has been visited, from 1.';

create table step_run (
    tenant text not null,
    submission uuid not null,
    id uuid not null,
    stage_run uuid not null,
    stage text not null,
    step text not null,
    round bigint not null,
    status text not null
        check (status in ('NOT_STARTED', 'IN_PROGRESS', 'COMPLETED', 'DISCONTINUED', 'CANCELED', 'ERROR')),
    outputs jsonb,
    settled text check (settled in ('APPROVE', 'REJECT')),
    flow text,
    flow_version bigint,
    attempt bigint,
    failure_reason text,
    failure_message text,
    started_at timestamptz,
    ended_at timestamptz,
    primary key (tenant, submission, id)
) with (fillfactor = 85);
comment on column step_run.settled is 'How an approval step was settled.';
comment on column step_run.flow is 'The flow of a background step.';
comment on column step_run.attempt is 'The number of the latest attempt of its job.';

create table work_item (
    tenant text not null,
    submission uuid not null,
    id uuid not null,
    step_run uuid not null,
    process text not null,
    stage text not null,
    step text not null,
    assignee_kind text not null check (assignee_kind in ('user', 'group', 'queue')),
    assignee text not null,
    reason text not null,
    status text not null check (status in
        ('ASSIGNED', 'APPROVED', 'REJECTED', 'ABSTAINED', 'WITHDRAWN', 'CANCELED', 'RECALLED', 'ERRORED')),
    assigned_at timestamptz not null,
    closed_at timestamptz,
    primary key (tenant, submission, id)
);
comment on column work_item.reason is 'Why this assignee: the rule, and what it was resolved from.';
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
    submission uuid not null,
    work_item uuid not null,
    step_run uuid not null,
    verdict text not null check (verdict in ('APPROVE', 'REJECT')),
    actor text not null,
    comment text not null,
    channel text not null,
    record_digest text not null,
    decided_at timestamptz not null,
    primary key (tenant, submission, work_item)
);
comment on column decision.channel is 'The way it came: API, CLI, …';
comment on column decision.record_digest is 'The digest of the record that the reviewer saw.';

create table job (
    tenant text not null,
    submission uuid not null,
    id uuid not null,
    step_run uuid not null,
    process text not null,
    stage text not null,
    step text not null,
    spec jsonb not null,
    attempt bigint not null,
    token text not null,
    status text not null check (status in ('PENDING', 'PUBLISHED', 'RUNNING')),
    available_at timestamptz not null,
    started_at timestamptz,
    deadline timestamptz,
    heartbeat_timeout_ms bigint,
    heartbeat_at timestamptz,
    task_queue text not null,
    flow text not null,
    deliver_at timestamptz,
    due_at timestamptz,
    due_claimed_until timestamptz,
    deliveries bigint not null default 0,
    primary key (tenant, submission, id)
) with (
    -- Every row is updated a few times and deleted: room for that in its page, and vacuum before the table grows by it.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
comment on table job is 'Open jobs only: the outbox and the timers. A finished row leaves.';
comment on column job.token is 'What makes a report on the live attempt count. Secret.';
comment on column job.available_at is 'When the live attempt may be published.';
comment on column job.deadline is 'When the attempt is over at the latest, heartbeats aside.';
comment on column job.heartbeat_timeout_ms is 'How long a started attempt may be silent, in milliseconds.';
comment on column job.heartbeat_at is 'When the live attempt was last heard of.';
comment on column job.deliver_at is 'When it is to be delivered (again), unless a worker starts it; null once it runs.';
comment on column job.due_at is 'The earlier of deadline and heartbeat_at plus heartbeat_timeout_ms.';
comment on column job.due_claimed_until is 'Until when a replica has taken it upon itself to act on due_at.';
comment on column job.deliveries is 'How often the live attempt was claimed for delivery by the relay.';
create index job_by_id on job (tenant, id);
create index job_to_deliver on job (deliver_at) where deliver_at is not null;
create index job_due on job (due_at) where due_at is not null;

create table request (
    tenant text not null,
    principal text not null,
    request_id text not null,
    digest bytea not null check (octet_length(digest) = 32),
    submission uuid,
    version bigint not null,
    answer bytea,
    at timestamptz not null,
    primary key (tenant, principal, request_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on table request is 'Calls that were answered: the same request_id again gets the same answer. Forgotten after a time.';
comment on column request.digest is 'SHA-256 over the method and the body: the same id with another body is refused.';
comment on column request.version is 'The version of the submission after the call.';
comment on column request.answer is 'The first answer, encoded, where it is not of a submission.';
create index request_by_time on request (at);

create table catalog (
    tenant text primary key,
    version bigint not null
);
comment on table catalog is 'One number for each tenant: when it changes, replicas read the definitions and the directory again.';

create table process_version (
    tenant text not null,
    name text not null,
    version bigint not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    title text not null,
    record_type text not null,
    definition text not null,
    digest bytea not null check (octet_length(digest) = 32),
    published_by text not null,
    published_at timestamptz not null,
    primary key (tenant, name, version)
);
comment on column process_version.definition is 'The text as it was published.';
create unique index process_version_one_active on process_version (tenant, name) where status = 'ACTIVE';

create table flow_version (
    tenant text not null,
    name text not null,
    version bigint not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    flow_type text not null check (flow_type in ('autolaunched', 'screen', 'evaluation')),
    task_queue text not null,
    definition text not null,
    digest bytea not null check (octet_length(digest) = 32),
    published_by text not null,
    published_at timestamptz not null,
    primary key (tenant, name, version)
);
comment on column flow_version.definition is 'The text as it was published.';
create unique index flow_version_one_active on flow_version (tenant, name) where status = 'ACTIVE';

create table directory_user (
    tenant text not null,
    name text not null,
    active boolean not null,
    manager text,
    email text,
    primary key (tenant, name)
);

create table directory_group (
    tenant text not null,
    name text not null,
    members jsonb not null,
    groups jsonb not null,
    primary key (tenant, name)
);
comment on column directory_group.members is 'Names of users.';
comment on column directory_group.groups is 'Names of groups whose members are members too.';

create table directory_queue (
    tenant text not null,
    name text not null,
    members jsonb not null,
    groups jsonb not null,
    primary key (tenant, name)
);
comment on column directory_queue.members is 'Names of users.';
comment on column directory_queue.groups is 'Names of groups whose members are members too.';

create table api_token (
    hash bytea primary key check (octet_length(hash) = 32),
    id text not null unique,
    tenant text not null,
    principal text not null,
    roles jsonb not null,
    note text not null,
    created_at timestamptz not null
);
comment on table api_token is 'Looked up by hash before the tenant is known: the one key that does not begin with it.';
comment on column api_token.hash is 'SHA-256 of the text of the token, which is stored nowhere.';
comment on column api_token.id is 'A short public name to list and revoke it by.';
