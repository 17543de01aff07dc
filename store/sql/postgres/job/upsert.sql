-- What an attempt left behind does not count for the next one. An upsert of a running job is its start.
insert into job (
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at
)
select
    tenant, submission, id, step_run, process, stage, step, spec::jsonb, attempt, token, status, available_at,
    started_at, deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::bigint[],
    $16::timestamptz[], $17::text[], $18::text[], $19::timestamptz[], $20::timestamptz[]
) as row (
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at
)
on conflict (tenant, submission, id) do update set
    step_run = excluded.step_run,
    process = excluded.process,
    stage = excluded.stage,
    step = excluded.step,
    spec = excluded.spec,
    attempt = excluded.attempt,
    token = excluded.token,
    status = excluded.status,
    available_at = excluded.available_at,
    started_at = excluded.started_at,
    deadline = excluded.deadline,
    heartbeat_timeout_ms = excluded.heartbeat_timeout_ms,
    heartbeat_at = excluded.heartbeat_at,
    task_queue = excluded.task_queue,
    flow = excluded.flow,
    deliver_at = excluded.deliver_at,
    due_at = excluded.due_at,
    due_claimed_until = null,
    deliveries = case when job.attempt = excluded.attempt then job.deliveries else 0 end
