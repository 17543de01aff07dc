update job set heartbeat_at = ?4, due_at = ?5, due_claimed_until = null
where tenant = ?1 and submission = ?2 and id = ?3
