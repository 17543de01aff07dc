with old as (
    select tenant, principal, request_id
    from request
    where at < $1
    order by at
    limit $2
    for update skip locked
)
delete from request
using old
where request.tenant = old.tenant and request.principal = old.principal and request.request_id = old.request_id
