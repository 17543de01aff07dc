select submission from work_item where tenant = ?1 and id = ?2
