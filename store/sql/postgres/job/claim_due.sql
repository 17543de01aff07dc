with due as (
    select tenant, submission, id
    from job
    where due_at <= $1 and (due_claimed_until is null or due_claimed_until <= $1)
    order by due_at
    limit $3
    for update skip locked
)
update job set due_claimed_until = $2
from due
where job.tenant = due.tenant and job.submission = due.submission and job.id = due.id
returning job.tenant, job.submission, job.id, job.attempt, job.heartbeat_at
