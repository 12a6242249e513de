-- What the hooks of an application are told about jobs that the calling process did not run.
select id as job_id, kind, queue, coalesce(tags, '{}') as tags, attempts_max, args
from queue.jobs
where id = any ($1)
