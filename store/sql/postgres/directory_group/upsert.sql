insert into directory_group (
    tenant, name, members, groups
)
select
    tenant, name, members::jsonb, groups::jsonb
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[]
) as row (
    tenant, name, members, groups
)
on conflict (tenant, name) do update set
    members = excluded.members,
    groups = excluded.groups
