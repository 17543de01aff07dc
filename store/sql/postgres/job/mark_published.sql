-- A row that a commit holds at this moment is skipped, not waited for: at worst it is delivered once more.
with published as (
    select job.tenant, job.submission, job.id
    from job
    join unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[]) as attempt (tenant, submission, id, number)
        on job.tenant = attempt.tenant and job.submission = attempt.submission and job.id = attempt.id
            and job.attempt = attempt.number
    where job.status in ('PENDING', 'PUBLISHED')
    for update of job skip locked
)
update job set status = 'PUBLISHED', deliver_at = $5
from published
where job.tenant = published.tenant and job.submission = published.submission and job.id = published.id
