-- claimed → ready, for the jobs of a process that it does not know it has: their claim was
-- committed, but the answer was lost with the connection.
-- A job that was asked to stop is not run again: it is finished (cancelled).
with closed as (
    delete from queue.claimed
    where process_id = $1
        and (job_id, attempt) not in (
            select known.job_id, known.attempt
            from unnest($2::bigint[], $3::integer[]) as known (job_id, attempt)
        )
    returning job_id, seq, attempt, spent, crashes, claimed_at,
        cancel_requested_at is not null as is_cancelled, keys, slots
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, spent, crashes, queue, kind, track)
    select job_id, seq, attempt, priority, spent, crashes, queue, kind, limited::integer
    from closed
    cross join lateral (
        select priority, queue, kind, limits is not null as limited
        from queue.jobs
        where jobs.id = closed.job_id
        limit 1
    ) as job
    where not is_cancelled
    returning queue, track
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
    where job_id = any (array(select job_id from closed where is_cancelled))
        and held_in & 32 = 0
)
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when track > 0 then '@' || queue else queue end)
        from (select distinct queue, track from placed) as woken
        where exists (select from queue.sleepers)
    ) as notified
)
from closed
