-- Votes that weigh, vetoes, and abstentions.

alter table work_item add column weight integer not null default 1;
alter table work_item add column veto integer not null default 0 check (veto in (0, 1));

-- SQLite cannot change the check of a column, so the table is made anew.
create table decision_with_abstentions (
    tenant text not null,
    submission text not null,
    work_item text not null,
    step_run text not null,
    verdict text not null check (verdict in ('APPROVE', 'REJECT', 'ABSTAIN')),
    actor text not null,
    comment text not null,
    channel text not null,
    record_digest text not null,
    decided_at text not null,
    primary key (tenant, submission, work_item)
) strict, without rowid;
insert into decision_with_abstentions (
    tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at
)
select tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at
from decision;
drop table decision;
alter table decision_with_abstentions rename to decision;
