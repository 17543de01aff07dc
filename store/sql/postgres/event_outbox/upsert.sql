insert into event_outbox (tenant, submission, published, version, deliver_at, since)
select tenant, submission, published, version, deliver_at, since
from unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[])
    as row (tenant, submission, published, version, deliver_at, since)
on conflict (tenant, submission) do update set version = excluded.version
