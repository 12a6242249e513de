-- claimed → scheduled, after an attempt that failed and may be repeated. Fenced.
-- A job that was asked to stop is not run again: it is finished (cancelled).
with closed as (
    delete from queue.claimed
    using unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[]
    ) as run (job_id, attempt, ran_us, ending, error, backtrace, delay_ms)
    where claimed.job_id = run.job_id
        and claimed.attempt = run.attempt
        and claimed.process_id = $1
    returning claimed.job_id, claimed.attempt, claimed.spent, claimed.crashes, claimed.claimed_at,
        cancel_requested_at is not null as is_cancelled,
        run.ran_us, run.ending, run.error, run.backtrace, run.delay_ms,
        claimed.keys, claimed.slots
), logged as (
    insert into queue.attempts (job_id, attempt, started_at, process, ending, error, backtrace)
    select job_id, attempt, clock_timestamp() - ran_us * interval '1 microsecond', $9,
        ending, error, backtrace
    from closed
), postponed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, spent, crashes, queue, kind, limited)
    select closed.job_id, clock_timestamp() + closed.delay_ms * interval '1 millisecond',
        closed.attempt, jobs.priority, closed.spent + 1, closed.crashes, jobs.queue, jobs.kind,
        jobs.limits is not null
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
    where job_id = any (array(select job_id from closed where is_cancelled))
        and held_in & 32 = 0
)
select job_id
from closed
