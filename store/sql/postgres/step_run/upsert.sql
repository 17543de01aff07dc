insert into step_run (
    tenant, submission, id, stage_run, stage, step, round, status, outputs, settled, flow, flow_version, attempt,
    failure_reason, failure_message, started_at, ended_at, due_at, overridden_by
)
select
    tenant, submission, id, stage_run, stage, step, round, status, outputs::jsonb, settled, flow, flow_version,
    attempt, failure_reason, failure_message, started_at, ended_at, due_at, overridden_by
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::timestamptz[],
    $17::timestamptz[], $18::timestamptz[], $19::text[]
) as row (
    tenant, submission, id, stage_run, stage, step, round, status, outputs, settled, flow, flow_version, attempt,
    failure_reason, failure_message, started_at, ended_at, due_at, overridden_by
)
on conflict (tenant, submission, id) do update set
    stage_run = excluded.stage_run,
    stage = excluded.stage,
    step = excluded.step,
    round = excluded.round,
    status = excluded.status,
    outputs = excluded.outputs,
    settled = excluded.settled,
    flow = excluded.flow,
    flow_version = excluded.flow_version,
    attempt = excluded.attempt,
    failure_reason = excluded.failure_reason,
    failure_message = excluded.failure_message,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    due_at = excluded.due_at,
    overridden_by = excluded.overridden_by
