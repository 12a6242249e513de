-- failed -> gone: up to $2 jobs that failed more than $1 ms ago. Continued by clear_jobs.sql.
with old as (
    select job_id
    from queue.failed
    where failed_at < statement_timestamp() - $1 * interval '1 millisecond'
    limit $2
    for update skip locked
), cleared as (
    delete from queue.failed where job_id = any (array(select job_id from old))
), answer as (
    select count(*)
    from old
