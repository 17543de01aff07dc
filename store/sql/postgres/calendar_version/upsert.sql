insert into calendar_version (
    tenant, name, version, status, title, time_zone, definition, digest, published_by, published_at
)
select
    tenant, name, version, status, title, time_zone, definition, digest, published_by, published_at
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[],
    $10::timestamptz[]
) as row (
    tenant, name, version, status, title, time_zone, definition, digest, published_by, published_at
)
on conflict (tenant, name, version) do update set
    status = excluded.status,
    title = excluded.title,
    time_zone = excluded.time_zone,
    definition = excluded.definition,
    digest = excluded.digest,
    published_by = excluded.published_by,
    published_at = excluded.published_at
