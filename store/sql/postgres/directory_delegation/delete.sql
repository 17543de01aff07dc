delete from directory_delegation where tenant = $1 and name = any ($2)
