-- Finds the runs that are still claimed.
select job_id
from queue.claimed
where job_id = any ($2)
    and process_id = $1
    and ((job_id, attempt) in (select * from unnest($2::bigint[], $3::integer[]))) is true
