select
    tenant, submission,
    seq, at, kind, body, prev_hash, hash
from event
join unnest($1::text[], $2::uuid[]) as wanted (tenant, submission) using (tenant, submission)
order by tenant, submission, seq
