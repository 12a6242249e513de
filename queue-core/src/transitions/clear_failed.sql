-- failed -> gone: up to $2 jobs that failed more than $1 ms ago, with their attempts, steps,
-- progress, waits and keys.
with old as (
    select job_id
    from queue.failed
    where failed_at < statement_timestamp() - $1 * interval '1 millisecond'
    limit $2
    for update skip locked
), cleared as (
    delete from queue.failed where job_id = any (array(select job_id from old))
), cleared_attempts as (
    delete from queue.attempts where job_id = any (array(select job_id from old))
), freed_keys as (
    delete from queue.unique_keys where job_id = any (array(select job_id from old))
), cleared_bypasses as (
    delete from queue.bypasses where job_id = any (array(select job_id from old))
), cleared_steps as (
    delete from queue.steps where job_id = any (array(select job_id from old))
), cleared_progress as (
    delete from queue.progress where job_id = any (array(select job_id from old))
), cleared_waits as (
    delete from queue.waits where job_id = any (array(select job_id from old))
), cleared_dependencies as (
    delete from queue.dependencies where job_id = any (array(select job_id from old))
), cleared_jobs as (
    delete from queue.jobs where id = any (array(select job_id from old))
)
select count(*) from old
