-- Returns the last $2 finished steps of a job, first to last, and how many there are.
select name, occurrence, finished_at, octet_length(result::text) as result_bytes, steps
from (
    select name, occurrence, finished_at, result, count(*) over () as steps
    from queue.steps
    where job_id = $1
        and name not like '@%'
    order by finished_at desc
    limit $2
) as last
order by finished_at
