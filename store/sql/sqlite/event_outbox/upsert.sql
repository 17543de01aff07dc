insert into event_outbox (tenant, submission, published, version, deliver_at, since)
values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict (tenant, submission) do update set version = excluded.version
