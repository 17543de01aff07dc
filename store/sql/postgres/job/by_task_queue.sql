select
    task_queue,
    count(*) filter (where status <> 'RUNNING' and available_at <= $2),
    min(available_at) filter (where status <> 'RUNNING' and available_at <= $2),
    count(*) filter (where status = 'RUNNING'),
    count(*) filter (where status <> 'RUNNING' and available_at > $2)
from job
where tenant = $1
group by task_queue
order by task_queue
