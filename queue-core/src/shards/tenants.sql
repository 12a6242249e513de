-- Returns those of the tenants $1 that have jobs that are neither finished nor failed. Reads their newest jobs first:
-- all of them only if none is unfinished.
select asked.tenant
from unnest($1::text[]) as asked (tenant)
cross join lateral (
    select
    from queue.jobs
    where jobs.tenant = asked.tenant
        and (select true from queue.finished where finished.job_id = jobs.id) is null
        and (select true from queue.failed where failed.job_id = jobs.id) is null
    order by jobs.id desc
    limit 1
) as unfinished
