-- Returns the milliseconds until the next scheduled job is due; no row without scheduled jobs.
select ceil(extract(epoch from due_at - clock_timestamp()) * 1000)::bigint
from queue.scheduled
order by due_at
limit 1
