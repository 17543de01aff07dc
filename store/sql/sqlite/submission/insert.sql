insert into submission (
    tenant, id, version, process, process_version, record_type, record_id, record_version, record_digest, submitter,
    on_behalf_of, comment, summary, status, ending, round, stage, awaits_time, failure_reason, failure_message,
    submitted_at, ended_at, looked_at
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23
)
