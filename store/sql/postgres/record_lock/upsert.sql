insert into record_lock (
    tenant, submission, step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
)
select tenant, submission, step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::timestamptz[]
) as row (
    tenant, submission, step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
)
on conflict (tenant, submission, step_run) do update set
    process = excluded.process,
    stage = excluded.stage,
    step = excluded.step,
    allow_reviewer_edit = excluded.allow_reviewer_edit,
    since = excluded.since
