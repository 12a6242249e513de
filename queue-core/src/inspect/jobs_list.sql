select job.id, job.kind, job.queue, state, outcome, job.priority, attempt, failures,
    job.attempts_max, coalesce(job.tags, '{}') as tags, job.tenant,
    case when $15 then job.args end as args, job.created_at as enqueued_at, at, (
        select left(split_part(attempts.error, chr(10), 1), 200)
        from queue.attempts
        where attempts.job_id = matching.job_id
            and state in ('scheduled', 'failed')
        order by attempts.attempt desc
        limit 1
    ) as error
from matching
cross join lateral (
    select *
    from queue.jobs
    where jobs.id = matching.job_id
    limit 1
) as job
order by job.id desc
