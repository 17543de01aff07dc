select id, attempt, status
from job
where tenant = ?1 and submission = ?2 and id = ?3
