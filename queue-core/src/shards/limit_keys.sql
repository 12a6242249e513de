-- Returns those of the keys of limits $1 that are the first of a job that waits or runs. There is no index for them, so
-- all waiting jobs with limits are read: ready ones are on other tracks than 0 and 3.
with unended as (
    select job_id from queue.ready where track not in (0, 3)
    union all
    select job_id from queue.blocked
    union all
    select job_id from queue.claimed
    union all
    select job_id from queue.scheduled
)
select distinct job.key
from unended
cross join lateral (
    select jobs.limits -> 0 ->> 'key' as key
    from queue.jobs
    where jobs.id = unended.job_id
    limit 1
) as job
where (job.key in (select unnest($1::text[]))) is true
