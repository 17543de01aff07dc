insert into work_item (
    tenant, submission, id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at,
    closed_at, weight, veto, due_at, claimed_by, claimed_until, question, question_by, question_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
)
on conflict (tenant, submission, id) do update set
    step_run = excluded.step_run,
    process = excluded.process,
    stage = excluded.stage,
    step = excluded.step,
    assignee_kind = excluded.assignee_kind,
    assignee = excluded.assignee,
    reason = excluded.reason,
    status = excluded.status,
    assigned_at = excluded.assigned_at,
    closed_at = excluded.closed_at,
    weight = excluded.weight,
    veto = excluded.veto,
    due_at = excluded.due_at,
    claimed_by = excluded.claimed_by,
    claimed_until = excluded.claimed_until,
    question = excluded.question,
    question_by = excluded.question_by,
    question_at = excluded.question_at
