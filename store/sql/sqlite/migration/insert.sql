insert into migration (name, checksum) values (?1, ?2)
