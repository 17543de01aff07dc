insert into decision (
    tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at,
    on_behalf_of, delegation
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
)
on conflict (tenant, submission, work_item) do update set
    step_run = excluded.step_run,
    verdict = excluded.verdict,
    actor = excluded.actor,
    comment = excluded.comment,
    channel = excluded.channel,
    record_digest = excluded.record_digest,
    decided_at = excluded.decided_at,
    on_behalf_of = excluded.on_behalf_of,
    delegation = excluded.delegation
