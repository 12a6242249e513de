-- Counts the unfinished jobs whose arguments did not fit their type in the last hour, by kind, among the
-- latest $1 such attempts.
select job.kind, count(distinct job_id) as count
from (
    select job_id
    from queue.attempts
    where ended_at > statement_timestamp() - interval '1 hour'
        and ending = 'undecodable'
    order by ended_at desc
    limit $1
) as recent
cross join lateral (
    select jobs.kind
    from queue.jobs
    where jobs.id = recent.job_id
        and not exists (select from queue.finished where finished.job_id = jobs.id)
    limit 1
) as job
group by job.kind
order by count desc, job.kind
