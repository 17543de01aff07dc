select
    hash, id, tenant, principal, roles, note, created_at
from api_token
where hash = $1
