select
    seq, at, kind, body, prev_hash, hash
from event
where tenant = $1 and submission = $2 and seq > $3
order by seq
limit $4
