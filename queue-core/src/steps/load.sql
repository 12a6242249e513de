-- Reads the finished steps of a job, with how long ago each finished.
select name, occurrence, result,
    (extract(epoch from statement_timestamp() - finished_at) * 1000)::bigint as age_ms
from queue.steps
where job_id = $1
