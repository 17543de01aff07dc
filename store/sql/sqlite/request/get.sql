select
    tenant, principal, request_id, digest, submission, version, answer, at
from request
where tenant = ?1 and principal = ?2 and request_id = ?3
