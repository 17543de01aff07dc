insert into timer (tenant, submission, kind, subject, due_at) values (?1, ?2, ?3, ?4, ?5)
on conflict (tenant, submission, kind, subject) do update set
    due_at = excluded.due_at,
    claimed_until = null
