insert into submission (
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at, looked_at
)
select
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at, looked_at
from unnest(
    $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[],
    $17::text[], $18::boolean[], $19::text[], $20::text[], $21::timestamptz[], $22::timestamptz[],
    $23::timestamptz[]
) as row (
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at, looked_at
)
