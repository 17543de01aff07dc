insert into event (
    tenant, submission, seq, at, kind, body, prev_hash, hash
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
)
