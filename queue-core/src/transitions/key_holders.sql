-- Finds the jobs that hold unique keys. Asked in a statement of its own, because the one that
-- lost the key may have waited for a holder that its snapshot cannot see.
select key, job_id
from queue.unique_keys
where key = any ($1)
