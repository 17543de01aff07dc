select count(*), min(since) from event_outbox where tenant = $1
