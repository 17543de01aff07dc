insert into calendar_version (
    tenant, name, version, status, title, time_zone, definition, digest, published_by, published_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
)
on conflict (tenant, name, version) do update set
    status = excluded.status,
    title = excluded.title,
    time_zone = excluded.time_zone,
    definition = excluded.definition,
    digest = excluded.digest,
    published_by = excluded.published_by,
    published_at = excluded.published_at
