insert into directory_delegation (
    tenant, name, delegator, delegate, start_at, end_at, processes, condition, alternates
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
)
on conflict (tenant, name) do update set
    delegator = excluded.delegator,
    delegate = excluded.delegate,
    start_at = excluded.start_at,
    end_at = excluded.end_at,
    processes = excluded.processes,
    condition = excluded.condition,
    alternates = excluded.alternates
