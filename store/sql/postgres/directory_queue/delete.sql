delete from directory_queue where tenant = $1 and name = any ($2)
