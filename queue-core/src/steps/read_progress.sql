-- Reads one value of the progress of a job.
select value
from queue.progress
where job_id = $1 and name = $2
