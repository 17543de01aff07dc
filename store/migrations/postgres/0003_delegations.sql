-- Who acts for whom, and for whom a decision was.

alter table directory_user add column time_zone text;
comment on column directory_user.time_zone is 'The name of a time zone in the IANA database.';

create table directory_delegation (
    tenant text not null,
    name text not null,
    delegator text not null,
    delegate text not null,
    start_at timestamptz not null,
    end_at timestamptz not null check (end_at > start_at),
    processes jsonb not null,
    condition text,
    alternates jsonb not null,
    primary key (tenant, name)
);
comment on column directory_delegation.end_at is 'The first moment at which it is no more in force.';
comment on column directory_delegation.processes is 'Names of processes; none: all of them.';
comment on column directory_delegation.condition is 'An expression on the record.';
comment on column directory_delegation.alternates is 'Names of users, in the order in which they stand in.';

alter table decision add column on_behalf_of text;
alter table decision add column delegation text;
comment on column decision.on_behalf_of is 'For whom it was, where the actor acted for somebody else.';
comment on column decision.delegation is 'The name of the delegation that let the actor decide.';
