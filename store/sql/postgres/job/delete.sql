delete from job
using unnest($1::text[], $2::uuid[], $3::uuid[]) as gone (tenant, submission, id)
where job.tenant = gone.tenant and job.submission = gone.submission and job.id = gone.id
