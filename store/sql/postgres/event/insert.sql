insert into event (
    tenant, submission, seq, at, kind, body, prev_hash, hash
)
select
    tenant, submission, seq, at, kind, body::jsonb, prev_hash, hash
from unnest(
    $1::text[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::bytea[], $8::bytea[]
) as row (
    tenant, submission, seq, at, kind, body, prev_hash, hash
)
