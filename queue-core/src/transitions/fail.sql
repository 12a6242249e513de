-- claimed → failed, after an attempt that was the last one. Fenced.
-- A job that was asked to stop is not left for an operator: it is finished (cancelled).
with closed as (
    delete from queue.claimed
    using unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[]
    ) as run (job_id, attempt, ran_us, ending, error, backtrace)
    where claimed.job_id = run.job_id
        and claimed.attempt = run.attempt
        and claimed.process_id = $1
    returning claimed.job_id, claimed.attempt, claimed.spent, claimed.crashes, claimed.claimed_at,
        cancel_requested_at is not null as is_cancelled,
        run.ran_us, run.ending, run.error, run.backtrace, claimed.keys, claimed.slots
), logged as (
    insert into queue.attempts (job_id, attempt, started_at, process, ending, error, backtrace)
    select job_id, attempt, clock_timestamp() - ran_us * interval '1 microsecond', $8,
        ending, error, backtrace
    from closed
), failed as (
    insert into queue.failed (job_id, attempt, spent, crashes, queue, kind)
    select closed.job_id, closed.attempt, closed.spent + 1, closed.crashes, jobs.queue, jobs.kind
    from closed
    join queue.jobs on jobs.id = closed.job_id
    where not is_cancelled
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, claimed_at, attempt, 'cancelled'
    from closed
    where is_cancelled
), vacated as (
    delete from queue.slots
    using closed
    cross join lateral unnest(closed.keys, closed.slots) as held (key, number)
    where slots.key = held.key
        and slots.number = held.number
        and slots.job_id = closed.job_id
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and held_in & (case when job_id = any (array(
            select job_id from closed where is_cancelled
        )) then 32 else 16 end) = 0
)
select job_id
from closed
