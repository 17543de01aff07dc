-- Votes that weigh, vetoes, and abstentions.

alter table work_item add column weight bigint not null default 1;
alter table work_item add column veto boolean not null default false;
comment on column work_item.weight is 'What a decision on it weighs, where the decision rule asks for weight.';
comment on column work_item.veto is 'Whether a rejection of it settles its step.';

alter table decision drop constraint decision_verdict_check;
alter table decision add constraint decision_verdict_check check (verdict in ('APPROVE', 'REJECT', 'ABSTAIN'));
