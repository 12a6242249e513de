-- Returns every recurring job, with the outcome of its last due time.
select name, schedule, zone, kind, queue, source, paused_at, next_at, last.due_at as last_due_at,
    last.outcome as last_outcome, last.job_id as last_job_id
from queue.recurring_jobs
left join lateral (
    select due_at, outcome, job_id
    from queue.firings
    where firings.recurring_job = recurring_jobs.name
        and due_at is not null
    order by due_at desc
    limit 1
) as last on true
order by name
