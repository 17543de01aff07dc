-- Rows that somebody else holds at this moment are skipped, not waited for: this transaction holds locks already, and the next
-- sign of life comes soon.
with heard as (
    select job.tenant, job.submission, job.id, greatest(job.heartbeat_at, beat.at) as at
    from job
    join unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[])
        as beat (tenant, submission, id, attempt, at)
        on job.tenant = beat.tenant and job.submission = beat.submission and job.id = beat.id
            and job.attempt = beat.attempt
    for update of job skip locked
)
update job set
    heartbeat_at = heard.at,
    due_at = case job.status
        when 'RUNNING' then least(job.deadline, heard.at + job.heartbeat_timeout_ms * interval '1 millisecond')
        else job.deadline
    end,
    due_claimed_until = null
from heard
where job.tenant = heard.tenant and job.submission = heard.submission and job.id = heard.id
