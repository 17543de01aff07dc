select published from event_outbox where tenant = ?1 and submission = ?2
