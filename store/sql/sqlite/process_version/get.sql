select
    name, version, status, title, record_type, definition, digest, published_by, published_at
from process_version
where tenant = ?1 and name = ?2 and version = ?3
