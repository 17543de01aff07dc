select tenant, submission, published from event_outbox where deliver_at <= ?1 order by deliver_at, submission limit ?2
