insert into directory_user (
    tenant, name, active, manager, email, time_zone
)
select
    tenant, name, active, manager, email, time_zone
from unnest(
    $1::text[], $2::text[], $3::boolean[], $4::text[], $5::text[], $6::text[]
) as row (
    tenant, name, active, manager, email, time_zone
)
on conflict (tenant, name) do update set
    active = excluded.active,
    manager = excluded.manager,
    email = excluded.email,
    time_zone = excluded.time_zone
