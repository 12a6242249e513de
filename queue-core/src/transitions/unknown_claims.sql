-- Finds the claims of a process ($1) other than the given jobs and attempts ($2, $3).
select job_id, attempt
from queue.claimed
where process_id = $1
    and (job_id, attempt) not in (select * from unnest($2::bigint[], $3::integer[]))
