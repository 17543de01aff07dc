insert into request (
    tenant, principal, request_id, digest, submission, version, answer, at
)
select
    tenant, principal, request_id, digest, submission, version, answer, at
from unnest(
    $1::text[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::bigint[], $7::bytea[], $8::timestamptz[]
) as row (
    tenant, principal, request_id, digest, submission, version, answer, at
)
