with wanted as (
    select tenant, submission, id, deliver_at, case status when 'PUBLISHED' then 1 else 0 end as again
    from job
    where deliver_at <= $1
    order by deliver_at
    limit $3
    for update skip locked
), claimed as (
    update job set deliver_at = $2, deliveries = job.deliveries + wanted.again
    from wanted
    where job.tenant = wanted.tenant and job.submission = wanted.submission and job.id = wanted.id
    returning job.*, wanted.deliver_at as was_at
)
select
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, deliveries
from claimed
order by was_at, id
