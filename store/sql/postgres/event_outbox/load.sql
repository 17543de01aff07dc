select tenant, submission, published
from event_outbox
join unnest($1::text[], $2::uuid[]) as wanted (tenant, submission) using (tenant, submission)
