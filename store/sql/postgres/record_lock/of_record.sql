select submission, step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
from record_lock
where tenant = $1 and record_type = $2 and record_id = $3
order by since, step_run
limit $4
