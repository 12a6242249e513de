-- Counts the attempts that ended in an error in the last hour, by the kind of their job, the most frequent
-- first, among the latest $1.
select job.kind, count(*) as count
from (
    select job_id
    from queue.attempts
    where ended_at > statement_timestamp() - interval '1 hour'
    order by ended_at desc
    limit $1
) as recent
cross join lateral (
    select jobs.kind from queue.jobs where jobs.id = recent.job_id limit 1
) as job
group by job.kind
order by count desc, job.kind
