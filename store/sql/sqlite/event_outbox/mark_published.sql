update event_outbox set published = ?3, deliver_at = ?4
where tenant = ?1 and submission = ?2 and published < ?3
