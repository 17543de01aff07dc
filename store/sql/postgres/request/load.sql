select
    tenant, principal, request_id, digest, submission, version, answer, at
from request
join unnest($1::text[], $2::text[], $3::text[]) as wanted (tenant, principal, request_id)
    using (tenant, principal, request_id)
