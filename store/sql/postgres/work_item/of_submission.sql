select
    id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at, closed_at,
    weight, veto
from work_item
where tenant = $1 and submission = $2
