-- Returns the $1 newest failed jobs with the first line of their last error, newest first.
select failed.job_id, failed.kind, failed.failed_at, (
    select left(split_part(attempts.error, chr(10), 1), 200)
    from queue.attempts
    where attempts.job_id = failed.job_id
    order by attempts.attempt desc
    limit 1
) as error
from (
    select job_id, kind, failed_at from queue.failed order by job_id desc limit $1
) as failed
order by failed.job_id desc
