-- Timers, and when work is due.

create table timer (
    tenant text not null,
    submission text not null,
    kind text not null,
    subject text not null,
    due_at text not null,
    claimed_until text,
    primary key (tenant, submission, kind, subject)
) strict, without rowid;
create index timer_due on timer (due_at);

alter table step_run add column due_at text;
alter table work_item add column due_at text;
