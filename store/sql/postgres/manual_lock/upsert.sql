insert into manual_lock (tenant, record_type, record_id, holder, reason, locked_by, locked_at, until)
select tenant, record_type, record_id, holder, reason, locked_by, locked_at, until
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[]
) as row (tenant, record_type, record_id, holder, reason, locked_by, locked_at, until)
on conflict (tenant, record_type, record_id, holder) do update set
    reason = excluded.reason,
    locked_by = excluded.locked_by,
    locked_at = excluded.locked_at,
    until = excluded.until
