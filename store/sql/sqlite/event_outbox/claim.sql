update event_outbox set deliver_at = ?3 where tenant = ?1 and submission = ?2
