-- Timers, and when work is due.

create table timer (
    tenant text not null,
    submission uuid not null,
    kind text not null,
    subject uuid not null,
    due_at timestamptz not null,
    claimed_until timestamptz,
    primary key (tenant, submission, kind, subject)
) with (
    -- Every row is claimed once or twice and deleted: room for that in its page, and vacuum before the table grows by it.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
comment on table timer is 'What follows from time alone, and when. A row leaves when its timer has fired or is not needed any more.';
comment on column timer.subject is 'What it is a timer of: a step run, a work item, …, as its kind says.';
comment on column timer.claimed_until is 'Until when a server has taken it upon itself to wake the submission.';
create index timer_due on timer (due_at);

alter table step_run add column due_at timestamptz;
alter table work_item add column due_at timestamptz;
comment on column step_run.due_at is 'When an approval step is due.';
comment on column work_item.due_at is 'When its step is due.';
