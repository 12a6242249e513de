-- If more than $1 jobs are in one state: returns every queue that a process knows or that had jobs at the last
-- sample of depths, with the numbers of that sample, unless it is older than three minutes.
with sample as (
    select at, is_least
    from queue.depths
    where span = 1
        and queue = '*'
        and at > statement_timestamp() - interval '3 minutes'
        and (
            exists (select from queue.ready offset $1)
            or exists (select from queue.scheduled offset $1)
            or exists (select from queue.blocked offset $1)
            or exists (select from queue.failed offset $1)
        )
    order by at desc
    limit 1
), known as (
    select *
    from (
        select queue as name, ready, scheduled, blocked, running, failed, oldest_ms
        from queue.depths
        where span = 1
            and at = (select at from sample)
            and queue not in ('*', '')
    ) as counted
    full join queue.queues using (name)
)
select name, coalesce(ready, 0) as ready, coalesce(scheduled, 0) as scheduled,
    coalesce(blocked, 0) as blocked, coalesce(running, 0) as running, coalesce(failed, 0) as failed,
    extract(epoch from clock_timestamp() - at + oldest_ms * interval '1 millisecond')::float8
        as latency_seconds,
    paused_at, paused_by, paused_why, at as sampled_at, is_least as at_least
from sample
cross join known
order by name
