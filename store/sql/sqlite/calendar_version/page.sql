select
    name, version, status, title, time_zone, definition, digest, published_by, published_at
from calendar_version
where tenant = ?1 and name = ?2 and (?3 is null or version < ?3)
order by version desc
limit ?4
