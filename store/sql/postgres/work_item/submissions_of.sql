select id, submission
from work_item
join unnest($2::uuid[]) as wanted (id) using (id)
where tenant = $1
