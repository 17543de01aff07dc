select step_run, record_type, record_id, process, stage, step, allow_reviewer_edit, since
from record_lock
where tenant = ?1 and submission = ?2
