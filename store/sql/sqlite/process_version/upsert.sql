insert into process_version (
    tenant, name, version, status, title, record_type, definition, digest, published_by, published_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
)
on conflict (tenant, name, version) do update set
    status = excluded.status,
    title = excluded.title,
    record_type = excluded.record_type,
    definition = excluded.definition,
    digest = excluded.digest,
    published_by = excluded.published_by,
    published_at = excluded.published_at
