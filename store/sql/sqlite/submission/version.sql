select version from submission where tenant = ?1 and id = ?2
