insert into directory_queue (
    tenant, name, members, groups
) values (
    ?1, ?2, ?3, ?4
)
on conflict (tenant, name) do update set
    members = excluded.members,
    groups = excluded.groups
