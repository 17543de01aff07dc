with due as (
    select tenant, submission, deliver_at
    from event_outbox
    where deliver_at <= $1
    order by deliver_at
    limit $3
    for update skip locked
), claimed as (
    update event_outbox set deliver_at = $2
    from due
    where event_outbox.tenant = due.tenant and event_outbox.submission = due.submission
    returning event_outbox.tenant, event_outbox.submission, event_outbox.published, due.deliver_at
)
select tenant, submission, published from claimed order by deliver_at, submission
