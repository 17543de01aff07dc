insert into catalog (tenant, version) values ($1, 1)
