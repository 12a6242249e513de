-- Samples the present minute unless another process has: how many jobs each queue has in each state, and how
-- old its oldest ready job is. Counts up to $1 rows of each table. The hour and the day keep the most that was
-- sampled. Removes minutes after a day, hours after 30 days and days after a year, up to $2 rows.
-- Returns how many milliseconds later the next minute begins.
--
-- Processes that sample at once count the same jobs; the second raises the rows of the first, and adds none.
-- Locks rows in the order of their keys. Those to be removed are locked with skip locked.
with due as materialized (
    select now.at
    from (select date_bin('1 minute', statement_timestamp(), 'epoch'::timestamptz) as at) as now
    where not exists (
        select from queue.depths where depths.span = 1 and depths.queue = '*' and depths.at = now.at
    )
), counted as (
    select queue, count(*) as ready, 0 as scheduled, 0 as blocked, 0 as running, 0 as failed,
        min(ready_at) as oldest
    from (select queue, ready_at from queue.ready where exists (select from due) limit $1) as found
    group by queue
    union all
    select queue, 0, count(*), 0, 0, 0, null
    from (select queue from queue.scheduled where exists (select from due) limit $1) as found
    group by queue
    union all
    select queue, 0, 0, count(*), 0, 0, null
    from (select queue from queue.blocked where exists (select from due) limit $1) as found
    group by queue
    union all
    select job.queue, 0, 0, 0, count(*), 0, null
    from (select job_id from queue.claimed where exists (select from due) limit $1) as found
    cross join lateral (
        select jobs.queue from queue.jobs where jobs.id = found.job_id limit 1
    ) as job
    group by job.queue
    union all
    select queue, 0, 0, 0, 0, count(*), null
    from (select queue from queue.failed where exists (select from due) limit $1) as found
    group by queue
), summed as (
    select queue, sum(ready) as ready, sum(scheduled) as scheduled, sum(blocked) as blocked,
        sum(running) as running, sum(failed) as failed, min(oldest) as oldest
    from counted
    group by queue
), ranked as (
    select *, row_number() over (order by ready + scheduled + blocked + running + failed desc, queue) as rank
    from summed
), named as (
    select case when rank <= 1000 then queue else '' end as queue, ready, scheduled, blocked, running, failed,
        oldest
    from ranked
    union all
    select '*', ready, scheduled, blocked, running, failed, oldest
    from summed
    union all
    -- Also a minute without jobs has been sampled.
    select '*', 0, 0, 0, 0, 0, null
), sampled as (
    select queue, sum(ready) as ready, sum(scheduled) as scheduled, sum(blocked) as blocked,
        sum(running) as running, sum(failed) as failed, min(oldest) as oldest
    from named
    group by queue
), bounded as (
    select greatest(ready, scheduled, blocked, running, failed) >= $1 as is_least
    from sampled
    where queue = '*'
), cleared as (
    delete from queue.depths
    where ctid = any (array(
        select found.place
        from (
            values (1::smallint, interval '1 day'), (60, interval '30 days'), (1440, interval '1 year')
        ) as rule (span, kept)
        cross join lateral (
            select ctid as place
            from queue.depths
            where exists (select from due)
                and depths.span = rule.span
                and depths.at < statement_timestamp() - rule.kept
            order by depths.at
            limit $2
            for update skip locked
        ) as found
    ))
), added as (
    insert into queue.depths as depths
        (span, queue, at, ready, scheduled, blocked, running, failed, oldest_ms, is_least)
    select rule.span, queue, date_bin(rule.width, due.at, 'epoch'::timestamptz), ready, scheduled, blocked,
        running, failed, extract(epoch from statement_timestamp() - oldest) * 1000, is_least
    from due
    cross join bounded
    cross join sampled
    cross join (
        values (1::smallint, interval '1 minute'), (60, interval '1 hour'), (1440, interval '1 day')
    ) as rule (span, width)
    order by rule.span, queue
    on conflict (span, queue, at) do update
    set ready = greatest(depths.ready, excluded.ready),
        scheduled = greatest(depths.scheduled, excluded.scheduled),
        blocked = greatest(depths.blocked, excluded.blocked),
        running = greatest(depths.running, excluded.running),
        failed = greatest(depths.failed, excluded.failed),
        oldest_ms = greatest(depths.oldest_ms, excluded.oldest_ms),
        is_least = depths.is_least or excluded.is_least
)
select 60000 - (extract(epoch from clock_timestamp()) * 1000)::bigint % 60000
