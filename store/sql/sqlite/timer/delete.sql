delete from timer where tenant = ?1 and submission = ?2 and kind = ?3 and subject = ?4
