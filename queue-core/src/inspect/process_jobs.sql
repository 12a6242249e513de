-- Returns up to $2 jobs that the process $1 has claimed, the oldest claims first.
select claimed.job_id as id, job.kind, job.queue, claimed.attempt, claimed.claimed_at
from queue.claimed
cross join lateral (
    select jobs.kind, jobs.queue from queue.jobs where jobs.id = claimed.job_id limit 1
) as job
where claimed.process_id = $1
order by claimed.claimed_at, claimed.job_id
limit $2
