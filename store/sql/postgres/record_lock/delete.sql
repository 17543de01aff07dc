delete from record_lock
using unnest($1::text[], $2::uuid[], $3::uuid[]) as gone (tenant, submission, step_run)
where record_lock.tenant = gone.tenant and record_lock.submission = gone.submission
    and record_lock.step_run = gone.step_run
