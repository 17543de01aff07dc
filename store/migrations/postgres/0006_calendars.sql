-- Calendars.

create table calendar_version (
    tenant text not null,
    name text not null,
    version bigint not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    title text not null,
    time_zone text not null,
    definition text not null,
    digest bytea not null check (octet_length(digest) = 32),
    published_by text not null,
    published_at timestamptz not null,
    primary key (tenant, name, version)
);
comment on column calendar_version.definition is 'The text as it was published.';
create unique index calendar_version_one_active on calendar_version (tenant, name) where status = 'ACTIVE';
