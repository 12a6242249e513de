-- Returns the kinds of ready jobs in each queue, among the first jobs of each lane: about $1 in all, and at least
-- ten of each. Jobs that no process runs come first sooner or later.
with recursive lane as (
    (
        select queue, priority, track from queue.ready order by queue, priority, track limit 1
    )
    union all
    select next.queue, next.priority, next.track
    from lane
    cross join lateral (
        select ready.queue, ready.priority, ready.track
        from queue.ready
        where (ready.queue, ready.priority, ready.track) > (lane.queue, lane.priority, lane.track)
        order by ready.queue, ready.priority, ready.track
        limit 1
    ) as next
), bound as (
    select greatest($1 / greatest(count(*), 1), 10) as jobs from lane
), front as (
    select lane.queue, job.kind, job.ready, job.oldest, job.is_cut
    from lane
    cross join bound
    cross join lateral (
        select kind, count(*) as ready, min(ready_at) as oldest, sum(count(*)) over () = bound.jobs as is_cut
        from (
            select kind, ready_at
            from queue.ready
            where ready.queue = lane.queue
                and ready.priority = lane.priority
                and ready.track = lane.track
            order by seq
            limit bound.jobs
        ) as first
        group by kind
    ) as job
)
select queue, kind, sum(ready)::bigint as ready, bool_or(is_cut) as at_least,
    greatest(extract(epoch from clock_timestamp() - min(oldest)), 0)::float8 as oldest_seconds,
    (
        select concat(', by ' || paused_by, ': ' || paused_why)
        from queue.queues
        where name = queue and paused_at is not null
    ) as paused
from front
group by queue, kind
order by queue, kind
