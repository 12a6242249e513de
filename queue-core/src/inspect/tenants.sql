-- Returns the tenants that have ready jobs in fair queues, or running ones, or for which something is set.
-- Reads the ready jobs of fair queues and all running ones.
with standing as (
    select tenant as name, count(*) as ready, min(ready_at) as oldest
    from queue.ready
    where tenant is not null
    group by tenant
), running as (
    select job.tenant as name, count(*) as running
    from queue.claimed
    cross join lateral (
        select jobs.tenant from queue.jobs where jobs.id = claimed.job_id limit 1
    ) as job
    where job.tenant is not null
    group by job.tenant
), known as (
    select name from queue.tenants
    union
    select name from standing
    union
    select name from running
)
select name, coalesce(weight, 1::smallint) as weight, coalesce(ready, 0) as ready,
    coalesce(running, 0) as running,
    extract(epoch from clock_timestamp() - oldest)::float8 as latency_seconds,
    paused_at, paused_by, paused_why
from known
left join standing using (name)
left join running using (name)
left join queue.tenants using (name)
order by name
