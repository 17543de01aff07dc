delete from directory_group where tenant = ?1 and name = ?2
