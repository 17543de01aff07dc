-- What an attempt left behind does not count for the next one. An upsert of a running job is its start.
insert into job (
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, task_queue, flow, deliver_at, due_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20
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
