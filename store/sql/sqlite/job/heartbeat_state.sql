select status, deadline, heartbeat_timeout_ms, heartbeat_at, deliveries
from job
where tenant = ?1 and submission = ?2 and id = ?3 and attempt = ?4
