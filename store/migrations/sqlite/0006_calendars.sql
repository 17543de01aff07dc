-- Calendars.

create table calendar_version (
    tenant text not null,
    name text not null,
    version integer not null,
    status text not null check (status in ('DRAFT', 'ACTIVE', 'INACTIVE')),
    title text not null,
    time_zone text not null,
    definition text not null,
    digest blob not null check (length(digest) = 32),
    published_by text not null,
    published_at text not null,
    primary key (tenant, name, version)
) strict;
create unique index calendar_version_one_active on calendar_version (tenant, name) where status = 'ACTIVE';
