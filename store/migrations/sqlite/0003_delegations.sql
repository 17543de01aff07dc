-- Who acts for whom, and for whom a decision was.

alter table directory_user add column time_zone text;

create table directory_delegation (
    tenant text not null,
    name text not null,
    delegator text not null,
    delegate text not null,
    start_at text not null,
    end_at text not null check (end_at > start_at),
    processes text not null check (json_valid(processes)),
    condition text,
    alternates text not null check (json_valid(alternates)),
    primary key (tenant, name)
) strict, without rowid;

alter table decision add column on_behalf_of text;
alter table decision add column delegation text;
