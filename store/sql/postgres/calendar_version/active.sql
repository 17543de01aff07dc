select
    name, version, status, title, time_zone, definition, digest, published_by, published_at
from calendar_version
where tenant = $1 and status = 'ACTIVE'
order by name
