select record_type, record_id, holder, reason, locked_by, locked_at, until
from manual_lock
where tenant = $1 and record_type = $2 and record_id = $3 and (until is null or until > $4)
order by locked_at, holder
limit $5
