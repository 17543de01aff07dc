insert into stage_run (
    tenant, submission, id, stage, round, status, failure_reason, failure_message, started_at, ended_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
)
on conflict (tenant, submission, id) do update set
    stage = excluded.stage,
    round = excluded.round,
    status = excluded.status,
    failure_reason = excluded.failure_reason,
    failure_message = excluded.failure_message,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at
