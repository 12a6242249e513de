-- Clears up to $2 batches that ended more than $1 ms ago and whose jobs have all been cleared. Returns the
-- jobs that still wait for them: a batch that failed has not started the jobs for its success.
with old as (
    select id
    from queue.batches
    where completed_at < statement_timestamp() - $1 * interval '1 millisecond'
        and (select jobs.id from queue.jobs where jobs.batch_id = batches.id limit 1) is null
    order by completed_at
    limit $2
    for update skip locked
), cleared as (
    delete from queue.batches where id = any (array(select id from old))
), uncounted as (
    delete from queue.deltas where target = any (array(select id from old))
), freed as (
    delete from queue.dependencies
    where on_id = any (array(select id from old))
    returning job_id
)
select job_id
from freed
union all
select null
from old
