insert into flow_version (
    tenant, name, version, status, flow_type, task_queue, definition, digest, published_by, published_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
)
on conflict (tenant, name, version) do update set
    status = excluded.status,
    flow_type = excluded.flow_type,
    task_queue = excluded.task_queue,
    definition = excluded.definition,
    digest = excluded.digest,
    published_by = excluded.published_by,
    published_at = excluded.published_at
