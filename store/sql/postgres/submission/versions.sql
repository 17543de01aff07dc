select id, version
from submission
join unnest($1::text[], $2::uuid[]) as wanted (tenant, id) using (tenant, id)
