select
    id, stage_run, stage, step, round, status, outputs, settled, flow, flow_version, attempt, failure_reason,
    failure_message, started_at, ended_at, due_at, overridden_by
from step_run
where tenant = $1 and submission = $2
