update job set deliver_at = ?4, deliveries = deliveries + (status = 'PUBLISHED')
where tenant = ?1 and submission = ?2 and id = ?3
