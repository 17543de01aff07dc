delete from request
where (tenant, principal, request_id) in (
    select tenant, principal, request_id from request where at < ?1 order by at limit ?2
)
