-- Finds the runs that are still claimed.
select claimed.job_id
from queue.claimed
join unnest($2::bigint[], $3::integer[]) as run (job_id, attempt)
    on claimed.job_id = run.job_id
    and claimed.attempt = run.attempt
where claimed.process_id = $1
