-- Returns the $1 newest failed jobs with the first line of their last error and the version that ran that
-- attempt, newest first.
select failed.job_id, failed.kind, failed.failed_at,
    floor(extract(epoch from statement_timestamp() - failed.failed_at) / 3600)::bigint as hours_ago,
    last.error, last.version
from (
    select job_id, kind, failed_at from queue.failed order by job_id desc limit $1
) as failed
left join lateral (
    select left(split_part(attempts.error, chr(10), 1), 200) as error, attempts.version
    from queue.attempts
    where attempts.job_id = failed.job_id
    order by attempts.attempt desc
    limit 1
) as last on true
order by failed.job_id desc
