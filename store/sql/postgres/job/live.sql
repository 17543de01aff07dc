select job.id, job.attempt, job.status
from job
join unnest($2::uuid[], $3::uuid[]) as asked (submission, id)
    on job.submission = asked.submission and job.id = asked.id
where job.tenant = $1
