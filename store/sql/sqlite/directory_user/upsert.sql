insert into directory_user (
    tenant, name, active, manager, email
) values (
    ?1, ?2, ?3, ?4, ?5
)
on conflict (tenant, name) do update set
    active = excluded.active,
    manager = excluded.manager,
    email = excluded.email
