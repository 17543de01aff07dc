select status, count(*) from job where tenant = $1 group by status order by status
