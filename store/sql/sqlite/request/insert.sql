insert into request (
    tenant, principal, request_id, digest, submission, version, answer, at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
)
