-- Reads the finished steps of a job in the order in which they finished, with how long ago that was.
select name, occurrence, result,
    (extract(epoch from statement_timestamp() - finished_at) * 1000)::bigint as age_ms
from queue.steps
where job_id = $1
order by finished_at
