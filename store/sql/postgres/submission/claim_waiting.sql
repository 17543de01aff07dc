with waiting as (
    select tenant, id
    from submission
    where looked_at < $2
    order by looked_at
    limit $3
    for update skip locked
)
update submission set looked_at = $1
from waiting
where submission.tenant = waiting.tenant and submission.id = waiting.id
returning submission.tenant, submission.id
