select
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, deliveries
from job
where tenant = ?1
    and (?5 is null or submission = ?5)
    and (?2 is null or task_queue = ?2)
    and (?3 is null or flow = ?3)
    and (?4 is null or status = ?4)
    and (?6 is null or id > ?6)
order by id
limit ?7
