insert into record_lock (
    tenant, submission, step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
on conflict (tenant, submission, step_run) do update set
    process = excluded.process,
    stage = excluded.stage,
    step = excluded.step,
    allow_reviewer_edit = excluded.allow_reviewer_edit,
    since = excluded.since
