-- And with it those of the record whose time is over.
delete from manual_lock
where tenant = ?1 and record_type = ?2 and record_id = ?3 and (holder = ?4 or until <= ?5)
