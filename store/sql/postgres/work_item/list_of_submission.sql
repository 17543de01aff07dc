select
    w.id, w.step_run, w.process, w.stage, w.step, w.assignee_kind, w.assignee, w.reason, w.status, w.assigned_at,
    w.closed_at, w.weight, w.veto, w.due_at, w.claimed_by, w.claimed_until, w.question, w.question_by, w.question_at,
    s.tenant, s.id, s.version, s.process, s.process_version, s.record_type, s.record_id, s.record_version,
    s.record_digest, s.submitter, s.on_behalf_of, s.comment, s.summary, s.status, s.ending, s.round, s.stage,
    s.awaits_time, s.failure_reason, s.failure_message, s.submitted_at, s.ended_at,
    d.work_item, d.step_run, d.verdict, d.actor, d.comment, d.channel, d.record_digest, d.decided_at, d.on_behalf_of,
    d.delegation
from work_item w
join submission s on s.tenant = w.tenant and s.id = w.submission
left join decision d on d.tenant = w.tenant and d.submission = w.submission and d.work_item = w.id
where w.tenant = $1
    and w.submission = $7
    and ($8::text[] is null or exists (
        select from unnest($8::text[], $9::text[], $10::text[]) as assignee (kind, name, process)
        where assignee.kind = w.assignee_kind and assignee.name = w.assignee
            and (assignee.process is null or assignee.process = w.process)
    ))
    and ($2::text is null or w.status = $2)
    and ($3::text is null or w.process = $3)
    and ($4::timestamptz is null or (w.assigned_at, w.id) > ($4, $5::uuid))
order by w.assigned_at, w.id
limit $6
