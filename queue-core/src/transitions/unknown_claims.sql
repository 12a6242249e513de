-- Finds the claims of a process ($1) other than those it knows of ($2, $3).
select job_id, attempt
from queue.claimed
where process_id = $1
    and (job_id, attempt) not in (select * from unnest($2::bigint[], $3::integer[]))
