-- Returns every known queue. Reads all rows of ready, scheduled, blocked and failed, which are narrow, and
-- none of jobs.
with standing as (
    select queue as name, count(*) as ready, min(ready_at) as oldest
    from queue.ready
    group by queue
), postponed as (
    select queue as name, count(*) as scheduled
    from queue.scheduled
    group by queue
), parked as (
    select queue as name, count(*) as blocked
    from queue.blocked
    group by queue
), running as (
    select job.queue as name, count(*) as running
    from queue.claimed
    cross join lateral (
        select jobs.queue from queue.jobs where jobs.id = claimed.job_id limit 1
    ) as job
    group by job.queue
), fallen as (
    select queue as name, count(*) as failed
    from queue.failed
    group by queue
), known as (
    select name from queue.queues
    union
    select name from standing
    union
    select name from postponed
    union
    select name from parked
    union
    select name from running
    union
    select name from fallen
)
select name, coalesce(ready, 0) as ready, coalesce(scheduled, 0) as scheduled,
    coalesce(blocked, 0) as blocked,
    coalesce(running, 0) as running, coalesce(failed, 0) as failed,
    extract(epoch from clock_timestamp() - oldest)::float8 as latency_seconds,
    paused_at, paused_by, paused_why
from known
left join standing using (name)
left join postponed using (name)
left join parked using (name)
left join running using (name)
left join fallen using (name)
left join queue.queues using (name)
order by name
