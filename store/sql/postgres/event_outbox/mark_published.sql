-- Locked in the order in which commits lock them, so that neither waits for the other for ever.
with confirmed as (
    select event_outbox.tenant, event_outbox.submission, event_outbox.version, mark.published
    from event_outbox
    join unnest($1::text[], $2::uuid[], $3::bigint[]) as mark (tenant, submission, published)
        on event_outbox.tenant = mark.tenant and event_outbox.submission = mark.submission
    where event_outbox.published < mark.published
    order by event_outbox.tenant, event_outbox.submission
    for update of event_outbox
), gone as (
    delete from event_outbox
    using confirmed
    where event_outbox.tenant = confirmed.tenant and event_outbox.submission = confirmed.submission
        and confirmed.version <= confirmed.published
)
update event_outbox set published = confirmed.published, deliver_at = $4
from confirmed
where event_outbox.tenant = confirmed.tenant and event_outbox.submission = confirmed.submission
    and confirmed.version > confirmed.published
