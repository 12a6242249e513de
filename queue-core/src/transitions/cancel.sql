-- scheduled, ready, blocked or failed → finished ($2, discarded or cancelled), for the jobs named.
-- Waits for nobody: what a worker is claiming at this moment counts as claimed.
with waiting as (
    delete from queue.scheduled
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), standing as (
    delete from queue.ready
    where job_id = any (array(
        select job_id from queue.ready
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), parked as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), fallen as (
    delete from queue.failed
    where job_id = any (array(
        select job_id from queue.failed
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), closed as (
    select * from waiting
    union all
    select * from standing
    union all
    select * from parked
    union all
    select * from fallen
), finished as (
    insert into queue.finished (job_id, attempt, outcome)
    select job_id, attempt, $2::queue.outcome
    from closed
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and (held_in & 32 = 0 or $3)
)
select job_id
from closed
