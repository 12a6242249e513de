-- Waits for the transactions that are moving the jobs in $1 out of scheduled, ready, blocked or failed.
-- Locks in the order of job ids, and only rows that can still be cancelled.
with was_scheduled as (
    select job_id from queue.scheduled
    where job_id = any ($1) order by job_id for key share
), was_ready as (
    select job_id from queue.ready
    where job_id = any ($1) order by job_id for key share
), was_blocked as (
    select job_id from queue.blocked
    where job_id = any ($1) order by job_id for key share
), was_failed as (
    select job_id from queue.failed
    where job_id = any ($1) order by job_id for key share
)
select (select count(*) from was_scheduled) + (select count(*) from was_ready)
    + (select count(*) from was_blocked) + (select count(*) from was_failed)
