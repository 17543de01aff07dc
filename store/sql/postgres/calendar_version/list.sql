select
    v.name, v.version, v.status, v.title, v.time_zone, v.definition, v.digest, v.published_by, v.published_at
from calendar_version v
where v.tenant = $1
    and ($2::text is null or v.name collate "C" > $2)
    and v.version = (
        select other.version
        from calendar_version other
        where other.tenant = v.tenant and other.name = v.name
        order by other.status = 'ACTIVE' desc, other.version desc
        limit 1
    )
order by v.name collate "C"
limit $3
