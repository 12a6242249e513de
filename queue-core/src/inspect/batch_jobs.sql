-- Lists up to $3 jobs of a batch ($1), in order, after the job $2, and what they wait for; or the jobs that
-- wait for the end of the batch, if $4.
with found as (
    (
        select id
        from queue.jobs
        where batch_id = $1
            and id > $2
            and not $4
        order by id
        limit $3
    )
    union all
    (
        select job_id
        from queue.dependencies
        where on_id = $1
            and job_id > $2
            and $4
        order by job_id
        limit $3
    )
)
select found.id, job.kind, narrow.state,
    array(
        select on_id
        from queue.dependencies
        where dependencies.job_id = found.id
            and on_id <> $1
        order by on_id
    ) as after, (
        select rule
        from queue.dependencies
        where dependencies.job_id = found.id
        limit 1
    ) as rule
from found
cross join lateral (
    select jobs.kind from queue.jobs where jobs.id = found.id limit 1
) as job
cross join lateral (
    select 'scheduled' as state from queue.scheduled where job_id = found.id
    union all
    select 'ready' from queue.ready where job_id = found.id
    union all
    select case when key = '@after' then 'waiting' else 'blocked' end
    from queue.blocked
    where job_id = found.id
    union all
    select 'running' from queue.claimed where job_id = found.id
    union all
    select 'failed' from queue.failed where job_id = found.id
    union all
    select outcome::text from queue.finished where job_id = found.id
    limit 1
) as narrow
order by found.id
