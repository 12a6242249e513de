-- Returns the pause of the tenant of a ready job, if there is one.
select paused_at, paused_by, paused_why
from queue.tenants
where name = (select tenant from queue.ready where job_id = $1) and paused_at is not null
