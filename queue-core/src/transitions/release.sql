-- claimed → ready, at its old place in line: given back before it began, or interrupted by the
-- stop of its process. Costs no attempt, but keeps its number: the same process may claim the job
-- again, and a release that is repeated because its answer was lost must not hit that claim. Fenced.
-- A job that was asked to stop is not run again: it is finished (cancelled).
--
-- A claim is found as it was met: nothing about it changes but that its job is asked to stop, which is
-- read where the claim is deleted.
with met as materialized (
    select run.*, held.*
    from unnest($2::bigint[], $3::integer[]) as run (job_id, attempt)
    cross join lateral (
        select seq, spent, crashes, claimed_at, keys, slots
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
