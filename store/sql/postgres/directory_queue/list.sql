select
    name, members, groups
from directory_queue
where tenant = $1
