select
    name, active, manager, email, time_zone
from directory_user
where tenant = $1
