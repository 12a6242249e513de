-- Finds the encrypted values of the next $2 jobs after the job $1, in their order, and if that is 0 those of
-- recurring jobs. Every row has the last of the jobs. If there is no value, there is one row with an empty
-- place.
with page as materialized (
    select id, kind, args
    from queue.jobs
    where id > $1
    order by id
    limit $2
), found as (
    select 'jobs' as place, id as job_id, kind, '' as name, 0::smallint as occurrence, args::text as value
    from page
    where args ? '$encrypted'
    union all
    select 'steps', job_id, (select kind from page where id = job_id), name, occurrence, result::text
    from queue.steps
    where job_id = any (array(select id from page)) and result::text like '{"$encrypted": {%'
    union all
    select 'progress', job_id, (select kind from page where id = job_id), name, 0::smallint, value::text
    from queue.progress
    where job_id = any (array(select id from page)) and value::text like '{"$encrypted": {%'
    union all
    select 'recurring_jobs', 0, kind, name, 0::smallint, args::text
    from queue.recurring_jobs
    where $1 = 0 and args ? '$encrypted'
)
select last, coalesce(place, '') as place, coalesce(job_id, 0) as job_id, coalesce(kind, '') as kind,
    coalesce(name, '') as name, coalesce(occurrence, 0::smallint) as occurrence, coalesce(value, '') as value
from (select max(id) as last from page) as page
left join found on true
order by found.job_id, found.name, found.occurrence
