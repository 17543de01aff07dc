-- Planned afresh for the filters at hand, so that the half that a status excludes costs nothing. Open and closed items
-- have an index each, and each half reads no further in it than the page is long.
select
    w.id, w.step_run, w.process, w.stage, w.step, w.assignee_kind, w.assignee, w.reason, w.status, w.assigned_at,
    w.closed_at, w.weight, w.veto, w.due_at, w.claimed_by, w.claimed_until, w.question, w.question_by, w.question_at,
    s.tenant, s.id, s.version, s.process, s.process_version, s.record_type, s.record_id, s.record_version,
    s.record_digest, s.submitter, s.on_behalf_of, s.comment, s.summary, s.status, s.ending, s.round, s.stage,
    s.awaits_time, s.failure_reason, s.failure_message, s.submitted_at, s.ended_at,
    d.work_item, d.step_run, d.verdict, d.actor, d.comment, d.channel, d.record_digest, d.decided_at, d.on_behalf_of,
    d.delegation
from (
    select w.*
    from unnest($7::text[], $8::text[], $9::text[]) as assignee (kind, name, process)
    cross join lateral (
        (
            select w.*
            from work_item w
            where w.tenant = $1
                and w.assignee_kind = assignee.kind and w.assignee = assignee.name
                and (assignee.process is null or w.process = assignee.process)
                and w.status = 'ASSIGNED' and ($2::text is null or $2 = 'ASSIGNED')
                and ($2::text is null or w.status = $2)
                and ($3::text is null or w.process = $3)
                and ($4::timestamptz is null or (w.assigned_at, w.id) > ($4, $5::uuid))
            order by w.assigned_at, w.id
            limit $6
        )
        union all
        (
            select w.*
            from work_item w
            where w.tenant = $1
                and w.assignee_kind = assignee.kind and w.assignee = assignee.name
                and (assignee.process is null or w.process = assignee.process)
                and w.status <> 'ASSIGNED' and ($2::text is null or $2 <> 'ASSIGNED')
                and ($2::text is null or w.status = $2)
                and ($3::text is null or w.process = $3)
                and ($4::timestamptz is null or (w.assigned_at, w.id) > ($4, $5::uuid))
            order by w.assigned_at, w.id
            limit $6
        )
    ) w
    order by w.assigned_at, w.id
    limit $6
) w
join submission s on s.tenant = w.tenant and s.id = w.submission
left join decision d on d.tenant = w.tenant and d.submission = w.submission and d.work_item = w.id
order by w.assigned_at, w.id
