insert into manual_lock (tenant, record_type, record_id, holder, reason, locked_by, locked_at, until)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
on conflict (tenant, record_type, record_id, holder) do update set
    reason = excluded.reason,
    locked_by = excluded.locked_by,
    locked_at = excluded.locked_at,
    until = excluded.until
