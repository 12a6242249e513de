-- Returns the progress of a job: its cursors, and under names with `@` what else it noted.
select name, value, set_at
from queue.progress
where job_id = $1
order by name
