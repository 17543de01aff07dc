insert into step_run (
    tenant, submission, id, stage_run, stage, step, round, status, outputs, settled, flow, flow_version, attempt,
    failure_reason, failure_message, started_at, ended_at, due_at, overridden_by
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19
)
on conflict (tenant, submission, id) do update set
    stage_run = excluded.stage_run,
    stage = excluded.stage,
    step = excluded.step,
    round = excluded.round,
    status = excluded.status,
    outputs = excluded.outputs,
    settled = excluded.settled,
    flow = excluded.flow,
    flow_version = excluded.flow_version,
    attempt = excluded.attempt,
    failure_reason = excluded.failure_reason,
    failure_message = excluded.failure_message,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    due_at = excluded.due_at,
    overridden_by = excluded.overridden_by
