-- Waits for whoever is moving the jobs named out of scheduled, ready, blocked or failed at this moment.
-- Locks in the order of job ids, and only what can still be cancelled.
with waiting as (
    select job_id from queue.scheduled
    where job_id = any ($1) order by job_id for key share
), standing as (
    select job_id from queue.ready
    where job_id = any ($1) order by job_id for key share
), parked as (
    select job_id from queue.blocked
    where job_id = any ($1) order by job_id for key share
), fallen as (
    select job_id from queue.failed
    where job_id = any ($1) order by job_id for key share
)
select (select count(*) from waiting) + (select count(*) from standing)
    + (select count(*) from parked) + (select count(*) from fallen)
