-- Counts the newest $2 jobs of a tenant by their states.
select state, count(*)
from (select id from queue.jobs where tenant = $1 order by id desc limit $2) as newest
cross join lateral (
    select 'finished' as state from queue.finished where job_id = newest.id
    union all
    select 'ready' from queue.ready where job_id = newest.id
    union all
    select 'scheduled' from queue.scheduled where job_id = newest.id
    union all
    select 'blocked' from queue.blocked where job_id = newest.id
    union all
    select 'running' from queue.claimed where job_id = newest.id
    union all
    select 'failed' from queue.failed where job_id = newest.id
    limit 1
) as narrow
group by state
