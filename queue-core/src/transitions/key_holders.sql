-- Finds the jobs that hold unique keys. A statement of its own, because the insert that found the key
-- taken may have waited for a transaction that its own snapshot does not see.
select key, job_id
from queue.unique_keys
where key = any ($1)
