delete from directory_user where tenant = $1 and name = any ($2)
