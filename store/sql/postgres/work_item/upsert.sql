insert into work_item (
    tenant, submission, id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at,
    closed_at, weight, veto, due_at, claimed_by, claimed_until, question, question_by, question_at
)
select
    tenant, submission, id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at,
    closed_at, weight, veto, due_at, claimed_by, claimed_until, question, question_by, question_at
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[],
    $14::bigint[], $15::boolean[], $16::timestamptz[], $17::text[], $18::timestamptz[], $19::text[], $20::text[],
    $21::timestamptz[]
) as row (
    tenant, submission, id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at,
    closed_at, weight, veto, due_at, claimed_by, claimed_until, question, question_by, question_at
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
