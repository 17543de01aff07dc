insert into stage_run (
    tenant, submission, id, stage, round, status, failure_reason, failure_message, started_at, ended_at
)
select
    tenant, submission, id, stage, round, status, failure_reason, failure_message, started_at, ended_at
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
    $9::timestamptz[], $10::timestamptz[]
) as row (
    tenant, submission, id, stage, round, status, failure_reason, failure_message, started_at, ended_at
)
on conflict (tenant, submission, id) do update set
    stage = excluded.stage,
    round = excluded.round,
    status = excluded.status,
    failure_reason = excluded.failure_reason,
    failure_message = excluded.failure_message,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at
