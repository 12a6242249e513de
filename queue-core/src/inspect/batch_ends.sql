-- Lists up to $3 jobs of a batch ($1), in order, after the job $2: how each has ended, if it has, its output,
-- and the last error of one that failed.
select jobs.id, jobs.kind, ended.state, output.value as output, last.error
from queue.jobs
left join lateral (
    select outcome::text as state from queue.finished where finished.job_id = jobs.id
    union all
    select 'failed' from queue.failed where failed.job_id = jobs.id
    limit 1
) as ended on true
left join lateral (
    select value from queue.progress where progress.job_id = jobs.id and name = '@output' limit 1
) as output on ended.state = 'done'
left join lateral (
    select error
    from queue.attempts
    where attempts.job_id = jobs.id
    order by attempt desc
    limit 1
) as last on ended.state = 'failed'
where batch_id = $1
    and jobs.id > $2
order by jobs.id
limit $3
