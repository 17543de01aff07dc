with due as (
    select tenant, submission, kind, subject
    from timer
    where due_at <= $1 and (claimed_until is null or claimed_until <= $1)
    order by due_at
    limit $3
    for update skip locked
)
update timer set claimed_until = $2
from due
where timer.tenant = due.tenant and timer.submission = due.submission
    and timer.kind = due.kind and timer.subject = due.subject
returning timer.tenant, timer.submission
