select
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at
from submission
where tenant = ?1 and id = ?2
