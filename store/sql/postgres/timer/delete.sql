delete from timer
using unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[]) as gone (tenant, submission, kind, subject)
where timer.tenant = gone.tenant and timer.submission = gone.submission
    and timer.kind = gone.kind and timer.subject = gone.subject
