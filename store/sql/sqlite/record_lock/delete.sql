delete from record_lock where tenant = ?1 and submission = ?2 and step_run = ?3
