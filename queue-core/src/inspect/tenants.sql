-- Returns up to $2 tenants in the order of names, after $1, that have ready jobs in fair queues, or running ones,
-- or for which something is set. Or only the tenant $5, if it has any jobs or something is set for it.
-- Counts ready jobs of fair queues up to $3 for each, and failed ones among the newest $4. Reads one index entry
-- for each tenant in each lane, all running jobs, and what it counts.
with recursive lanes as (
    (
        select queue, priority, track
        from queue.ready
        where track > 2
        order by queue, priority, track
        limit 1
    )
    union all
    select next.queue, next.priority, next.track
    from lanes
    cross join lateral (
        select ready.queue, ready.priority, ready.track
        from queue.ready
        where ready.track > 2
            and (ready.queue, ready.priority, ready.track) > (lanes.queue, lanes.priority, lanes.track)
        order by ready.queue, ready.priority, ready.track
        limit 1
    ) as next
), in_line as (
    select queue, priority, track, $1::text collate "C" as name, 0 as nth
    from lanes
    where $5::text is null
    union all
    select in_line.queue, in_line.priority, in_line.track, next.tenant, nth + 1
    from in_line
    cross join lateral (
        select ready.tenant
        from queue.ready
        where ready.queue = in_line.queue
            and ready.priority = in_line.priority
            and ready.track = in_line.track
            and ready.track > 2
            and ready.tenant > in_line.name
        order by ready.tenant, ready.seq
        limit 1
    ) as next
    where nth < $2
), running as (
    select job.tenant as name, count(*) as running
    from queue.claimed
    cross join lateral (
        select jobs.tenant from queue.jobs where jobs.id = claimed.job_id limit 1
    ) as job
    where job.tenant is not null
    group by job.tenant
), failing as (
    select job.tenant as name, count(*) as failed
    from (select job_id from queue.failed order by job_id desc limit $4) as newest
    cross join lateral (
        select jobs.tenant from queue.jobs where jobs.id = newest.job_id limit 1
    ) as job
    where job.tenant is not null
    group by job.tenant
), known as (
    select name from in_line where nth > 0
    union
    select name from running where name > $1 and $5 is null
    union
    (select name from queue.tenants where name > $1 and $5 is null order by name limit $2)
    union
    (
        select substr(name, 9)
        from queue.limits
        where name > '@tenant/' || $1
            and name < '@tenant0'
            and $5 is null
        order by name
        limit $2
    )
    union
    select $5 collate "C"
    where exists (select from queue.tenants where name = $5)
        or exists (select from queue.limits where name = '@tenant/' || $5)
        or exists (select from queue.jobs where tenant = $5)
    order by name
    limit $2
)
select known.name, coalesce(weight, 1::smallint) as weight, waiting.ready,
    coalesce(running, 0) as running, coalesce(failed, 0) as failed,
    extract(epoch from clock_timestamp() - waiting.oldest)::float8 as latency_seconds,
    slots, extract(epoch from space)::float8 as space_seconds, burst, paused_at, paused_by, paused_why
from known
cross join lateral (
    select count(*) as ready, min(ready_at) as oldest
    from (
        select own.ready_at
        from lanes
        cross join lateral (
            select ready.ready_at
            from queue.ready
            where ready.queue = lanes.queue
                and ready.priority = lanes.priority
                and ready.track = lanes.track
                and ready.track > 2
                and ready.tenant = known.name
            order by ready.seq
            limit $3
        ) as own
        limit $3
    ) as counted
) as waiting
left join running on running.name = known.name
left join failing on failing.name = known.name
left join queue.tenants on tenants.name = known.name
left join queue.limits on limits.name = '@tenant/' || known.name
order by known.name
