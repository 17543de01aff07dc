-- A retry that waits for its time goes on waiting.
update job set deliver_at = ?1 where status in ('PENDING', 'PUBLISHED') and available_at <= ?1
