insert into api_token (
    hash, id, tenant, principal, roles, note, created_at
)
select
    hash, id, tenant, principal, roles::jsonb, note, created_at
from unnest(
    $1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[]
) as row (
    hash, id, tenant, principal, roles, note, created_at
)
