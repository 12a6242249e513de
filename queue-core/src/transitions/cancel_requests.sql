-- Finds the running jobs of a process that have been asked to cancel.
select job_id, attempt
from queue.claimed
where process_id = $1
    and cancel_requested_at is not null
