-- Planned afresh for the filters at hand: a filter that is null is not there.
select
    tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at, started_at,
    deadline, heartbeat_timeout_ms, heartbeat_at, deliveries
from job
where tenant = $1
    and ($5::uuid is null or id = $5)
    and ($6::uuid is null or submission = $6)
    and ($2::text is null or task_queue = $2)
    and ($3::text is null or flow = $3)
    and ($4::text is null or status = $4)
    and ($7::uuid is null or id > $7)
order by id
limit $8
