update job set due_claimed_until = ?2
where (tenant, submission, id) in (
    select tenant, submission, id
    from job
    where due_at <= ?1 and (due_claimed_until is null or due_claimed_until <= ?1)
    order by due_at
    limit ?3
)
returning tenant, submission, id, attempt, heartbeat_at
