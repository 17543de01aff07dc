create table if not exists migration (
    name text primary key,
    checksum bytea not null,
    applied_at timestamptz not null default now()
)
