update timer set claimed_until = ?2
where (tenant, submission, kind, subject) in (
    select tenant, submission, kind, subject
    from timer
    where due_at <= ?1 and (claimed_until is null or claimed_until <= ?1)
    order by due_at
    limit ?3
)
returning tenant, submission
