select
    work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at, on_behalf_of,
    delegation
from decision
where tenant = ?1 and submission = ?2
