insert into directory_user (
    tenant, name, active, manager, email
)
select
    tenant, name, active, manager, email
from unnest(
    $1::text[], $2::text[], $3::boolean[], $4::text[], $5::text[]
) as row (
    tenant, name, active, manager, email
)
on conflict (tenant, name) do update set
    active = excluded.active,
    manager = excluded.manager,
    email = excluded.email
