select
    name, version, status, flow_type, task_queue, definition, digest, published_by, published_at
from flow_version
where tenant = ?1 and status = 'ACTIVE'
order by name
