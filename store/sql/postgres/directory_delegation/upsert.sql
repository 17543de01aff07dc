insert into directory_delegation (
    tenant, name, delegator, delegate, start_at, end_at, processes, condition, alternates
)
select
    tenant, name, delegator, delegate, start_at, end_at, processes::jsonb, condition, alternates::jsonb
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[],
    $9::text[]
) as row (
    tenant, name, delegator, delegate, start_at, end_at, processes, condition, alternates
)
on conflict (tenant, name) do update set
    delegator = excluded.delegator,
    delegate = excluded.delegate,
    start_at = excluded.start_at,
    end_at = excluded.end_at,
    processes = excluded.processes,
    condition = excluded.condition,
    alternates = excluded.alternates
