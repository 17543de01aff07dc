select
    name, delegator, delegate, start_at, end_at, processes, condition, alternates
from directory_delegation
where tenant = ?1
