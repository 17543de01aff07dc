-- Locks in the order of the ids, so that two replicas cannot wait for each other, and only what is at its expected version.
with wanted as (
    select * from unnest(
        $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
        $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[],
        $17::text[], $18::boolean[], $19::text[], $20::text[], $21::timestamptz[], $22::timestamptz[],
        $23::timestamptz[], $24::bigint[]
    ) as row (
        tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest,
        submitter, on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason,
        failure_message, submitted_at, ended_at, looked_at, expected
    )
), locked as (
    select wanted.*
    from wanted
    join submission on submission.tenant = wanted.tenant and submission.id = wanted.id
    where submission.version = wanted.expected
    order by submission.tenant, submission.id
    for update of submission
)
update submission set
    version = locked.version,
    process = locked.process,
    process_version = locked.process_version,
    record_type = locked.record_type,
    record_id = locked.record_id,
    record_version = locked.record_version,
    record_digest = locked.record_digest,
    submitter = locked.submitter,
    on_behalf_of = locked.on_behalf_of,
    comment = locked.comment,
    summary = locked.summary,
    status = locked.status,
    ending = locked.ending,
    round = locked.round,
    stage = locked.stage,
    awaits_time = locked.awaits_time,
    failure_reason = locked.failure_reason,
    failure_message = locked.failure_message,
    submitted_at = locked.submitted_at,
    ended_at = locked.ended_at,
    looked_at = locked.looked_at
from locked
where submission.tenant = locked.tenant and submission.id = locked.id
