-- Counts the jobs in `ends`, by 1 or, to take back an earlier end, by -1: for their batches, and for the
-- jobs that wait for them. Adds rows only.
), counted_ends as (
    insert into queue.deltas (target, done, discarded, failed, cancelled)
    select target, coalesce(sum(by) filter (where became = 'done'), 0),
        coalesce(sum(by) filter (where became = 'discarded'), 0),
        coalesce(sum(by) filter (where became = 'failed'), 0),
        coalesce(sum(by) filter (where became = 'cancelled'), 0)
    from (
        select job.batch_id as target, ends.became, ends.by
        from ends
        cross join lateral (
            select batch_id from queue.jobs where jobs.id = ends.job_id limit 1
        ) as job
        where job.batch_id is not null
        union all
        select dependent.job_id,
            case
                when ends.became in ('done', 'discarded') or dependent.rule = 'continue' then 'done'
                when dependent.rule = 'cancel' then 'failed'
            end,
            ends.by
        from ends
        cross join lateral (
            select job_id, rule from queue.dependencies where on_id = ends.job_id offset 0
        ) as dependent
        where exists (select from queue.dependencies where on_id > 0)
    ) as counts
    where became in ('done', 'discarded', 'failed', 'cancelled')
    group by target
