insert into directory_user (
    tenant, name, active, manager, email, time_zone
) values (
    ?1, ?2, ?3, ?4, ?5, ?6
)
on conflict (tenant, name) do update set
    active = excluded.active,
    manager = excluded.manager,
    email = excluded.email,
    time_zone = excluded.time_zone
