insert into api_token (
    hash, id, tenant, principal, roles, note, created_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7
)
