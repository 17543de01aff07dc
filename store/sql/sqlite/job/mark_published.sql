update job set status = 'PUBLISHED', deliver_at = ?5
where tenant = ?1 and submission = ?2 and id = ?3 and attempt = ?4 and status in ('PENDING', 'PUBLISHED')
