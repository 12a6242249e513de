-- Returns the finished steps of a job, first to last.
select name, occurrence, finished_at, octet_length(result::text) as result_bytes
from queue.steps
where job_id = $1
    and name not like '@%'
order by finished_at
