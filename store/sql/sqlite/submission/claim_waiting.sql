update submission set looked_at = ?1
where (tenant, id) in (select tenant, id from submission where looked_at < ?2 order by looked_at limit ?3)
returning tenant, id
