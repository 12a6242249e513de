-- Lists up to $3 jobs of a batch ($1), in order, after the job $2, and what they wait for; or the jobs that
-- wait for the end of the batch, if $4.
select jobs.id, jobs.kind,
    case
        when scheduled.job_id is not null then 'scheduled'
        when ready.job_id is not null then 'ready'
        when blocked.key = '@after' then 'waiting'
        when blocked.job_id is not null then 'blocked'
        when claimed.job_id is not null then 'running'
        when failed.job_id is not null then 'failed'
        else finished.outcome::text
    end as state,
    array(
        select on_id
        from queue.dependencies
        where dependencies.job_id = jobs.id
            and on_id <> $1
        order by on_id
    ) as after, (
        select rule
        from queue.dependencies
        where dependencies.job_id = jobs.id
        limit 1
    ) as rule
from queue.jobs
left join queue.scheduled on scheduled.job_id = jobs.id
left join queue.ready on ready.job_id = jobs.id
left join queue.blocked on blocked.job_id = jobs.id
left join queue.claimed on claimed.job_id = jobs.id
left join queue.failed on failed.job_id = jobs.id
left join queue.finished on finished.job_id = jobs.id
where case
        when $4 then jobs.id in (select job_id from queue.dependencies where on_id = $1)
        else jobs.batch_id = $1
    end
    and jobs.id > $2
order by jobs.id
limit $3
