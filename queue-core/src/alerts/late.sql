-- Returns up to $2 recurring jobs that have been due for more than $1 ms.
select name
from queue.recurring_jobs
where paused_at is null
    and next_at < statement_timestamp() - $1 * interval '1 millisecond'
order by next_at
limit $2
