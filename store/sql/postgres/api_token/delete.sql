delete from api_token where id = $1
