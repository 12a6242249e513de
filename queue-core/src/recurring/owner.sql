-- Returns the source of a recurring job; null if it was added at run time.
select source
from queue.recurring_jobs
where name = $1
