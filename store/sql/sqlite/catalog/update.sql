update catalog set version = version + 1 where tenant = ?1 and version = ?2
