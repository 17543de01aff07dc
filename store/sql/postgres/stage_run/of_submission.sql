select
    id, stage, round, status, failure_reason, failure_message, started_at, ended_at
from stage_run
where tenant = $1 and submission = $2
