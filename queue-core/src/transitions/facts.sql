-- Reads jobs that the calling process ended but did not run, for the events of hooks.
select id as job_id, kind, queue, coalesce(tags, '{}') as tags, attempts_max, args,
    tenant, context
from queue.jobs
where id = any ($1)
