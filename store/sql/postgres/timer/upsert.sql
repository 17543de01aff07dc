insert into timer (tenant, submission, kind, subject, due_at)
select tenant, submission, kind, subject, due_at
from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[]) as row (
    tenant, submission, kind, subject, due_at
)
on conflict (tenant, submission, kind, subject) do update set
    due_at = excluded.due_at,
    claimed_until = null
