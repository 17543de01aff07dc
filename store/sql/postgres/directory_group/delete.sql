delete from directory_group where tenant = $1 and name = any ($2)
