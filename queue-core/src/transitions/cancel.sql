-- scheduled, ready, blocked or failed -> finished ($2, discarded or cancelled), for the jobs named.
-- Skips locked rows: a job that a worker is claiming at this moment counts as claimed. Continued by
-- count.sql.
with was_scheduled as (
    delete from queue.scheduled
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), was_ready as (
    delete from queue.ready
    where job_id = any (array(
        select job_id from queue.ready
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), was_blocked as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), was_failed as (
    delete from queue.failed
    where job_id = any (array(
        select job_id from queue.failed
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning job_id, attempt
), closed as (
    select * from was_scheduled
    union all
    select * from was_ready
    union all
    select * from was_blocked
    union all
    select * from was_failed
), finished as (
    insert into queue.finished (job_id, attempt, outcome)
    select job_id, attempt, $2::queue.outcome
    from closed
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and (held_in & queue.state_finished() = 0 or $3)
), ends as (
    -- A failed job has been counted before.
    select job_id, $2::text as became, 1 as by
    from closed
    union all
    select job_id, 'failed', -1
    from was_failed
