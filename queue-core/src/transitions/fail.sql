-- claimed → failed, after an attempt that was the last one. Fenced.
-- A job that was asked to stop is not left for an operator: it is finished (cancelled).
--
-- A claim is found as it was met: nothing about it changes but that its job is asked to stop, which is
-- read where the claim is deleted.
with met as materialized (
    select run.*, held.*
    from unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[]
    ) as run (job_id, attempt, ran_us, ending, error, backtrace)
    cross join lateral (
        select spent, crashes, claimed_at, keys, slots
        from queue.claimed
        where claimed.job_id = run.job_id
            and claimed.attempt = run.attempt
            and claimed.process_id = $1
        limit 1
    ) as held
), gone as (
    delete from queue.claimed
    where job_id = any (array(select job_id from met))
    returning job_id, cancel_requested_at is not null as is_cancelled
), closed as materialized (
    select met.*,
        (job_id in (select job_id from gone where is_cancelled)) is true as is_cancelled
    from met
    where (job_id in (select job_id from gone)) is true
), logged as (
    insert into queue.attempts (job_id, attempt, started_at, process, ending, error, backtrace)
    select job_id, attempt, clock_timestamp() - ran_us * interval '1 microsecond', $8,
        ending, error, backtrace
    from closed
), failed as (
    insert into queue.failed (job_id, attempt, spent, crashes, queue, kind)
    select job_id, attempt, spent + 1, crashes, queue, kind
    from closed
    cross join lateral (
        select queue, kind from queue.jobs where jobs.id = closed.job_id limit 1
    ) as job
    where not is_cancelled
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, claimed_at, attempt, 'cancelled'
    from closed
    where is_cancelled
), vacated as (
    delete from queue.slots
    where ctid = any (array(
        select slot.place
        from closed
        cross join lateral unnest(closed.keys, closed.slots) as held (key, number)
        cross join lateral (
            select ctid as place
            from queue.slots
            where slots.key = held.key
                and slots.number = held.number
                and slots.job_id = closed.job_id
            limit 1
        ) as slot
    ))
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and held_in & (case when job_id = any (array(
            select job_id from closed where is_cancelled
        )) then 32 else 16 end) = 0
)
select job_id
from closed
