-- Returns up to $1 recurring jobs that are paused.
select name
from queue.recurring_jobs
where paused_at is not null
order by name
limit $1
