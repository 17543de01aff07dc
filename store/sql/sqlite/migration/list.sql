select name, checksum from migration order by name
