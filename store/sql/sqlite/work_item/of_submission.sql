select
    id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at, closed_at,
    weight, veto, due_at, claimed_by, claimed_until, question, question_by, question_at
from work_item
where tenant = ?1 and submission = ?2
