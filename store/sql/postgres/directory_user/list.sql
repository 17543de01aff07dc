select
    name, active, manager, email
from directory_user
where tenant = $1
