select
    name, members, groups
from directory_group
where tenant = ?1
