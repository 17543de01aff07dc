insert into decision (
    tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at,
    on_behalf_of, delegation
)
select
    tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at,
    on_behalf_of, delegation
from unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::timestamptz[], $11::text[], $12::text[]
) as row (
    tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at,
    on_behalf_of, delegation
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
