-- claimed → finished (discarded or cancelled), with the error that led there. Fenced.
with met as materialized (
    select run.*, held.*
    from unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[]
    ) as run (job_id, attempt, ran_us, ending, error, backtrace, outcome)
    cross join lateral (
        select keys, slots
        from queue.claimed
        where claimed.job_id = run.job_id
            and claimed.attempt = run.attempt
            and claimed.process_id = $1
        limit 1
    ) as held
), gone as (
    delete from queue.claimed
    where job_id = any (array(select job_id from met))
    returning job_id
), closed as materialized (
    select met.*, clock_timestamp() - ran_us * interval '1 microsecond' as started_at
    from met
    where (job_id in (select job_id from gone)) is true
), logged as (
    insert into queue.attempts (job_id, attempt, started_at, process, ending, error, backtrace)
    select job_id, attempt, started_at, $9, ending, error, backtrace
    from closed
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, started_at, attempt, outcome::queue.outcome
    from closed
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
        and held_in & 32 = 0
)
select job_id
from closed
