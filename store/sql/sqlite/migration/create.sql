create table if not exists migration (
    name text primary key,
    checksum blob not null,
    applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict
