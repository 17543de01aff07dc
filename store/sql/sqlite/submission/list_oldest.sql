select
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at
from submission
where tenant = ?1
    and (?2 is null or process = ?2)
    and (?3 is null or status = ?3)
    and (?4 is null or submitter = ?4)
    and (?5 is null or record_type = ?5)
    and (?6 is null or record_id = ?6)
    and (?7 is null or (submitted_at, id) > (?7, ?8))
order by submitted_at, id
limit ?9
