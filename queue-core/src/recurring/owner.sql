-- Tells who declares a schedule; null when it was added at run time.
select source
from queue.recurring_jobs
where name = $1
