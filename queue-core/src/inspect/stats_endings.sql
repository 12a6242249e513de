-- Counts jobs and attempts that ended in the last minute and the last hour, each up to $1 rows.
with recent as (
    (
        select outcome::text as ending, finished_at as ended_at
        from queue.finished
        where finished_at > statement_timestamp() - interval '1 hour'
        order by finished_at desc
        limit $1
    )
    union all
    (
        select 'failed', failed_at
        from queue.failed
        where failed_at > statement_timestamp() - interval '1 hour'
        limit $1
    )
    union all
    (
        select 'errors', ended_at
        from queue.attempts
        where ended_at > statement_timestamp() - interval '1 hour'
        order by ended_at desc
        limit $1
    )
)
select ending, count(*) filter (where ended_at > statement_timestamp() - interval '1 minute') as minute,
    count(*) as hour
from recent
group by ending
