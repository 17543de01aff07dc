select
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, deliveries + (status = 'PUBLISHED')
from job
where deliver_at <= ?1
order by deliver_at, id
limit ?2
