-- Groups failed jobs by kind and by the first line of their last error: the $1 newest ids among them, and
-- at most $2 groups, the largest first.
select kind, error, count(*) as count, min(failed_at) as first_at, max(failed_at) as last_at,
    max(job_id) as sample
from (
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
) as newest
group by kind, error
order by count desc, last_at desc, kind
limit $2
