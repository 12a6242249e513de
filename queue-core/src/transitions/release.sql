-- claimed → ready, at its old place in line: given back before it began, or interrupted by the
-- stop of its process. Costs no attempt, but keeps its number: the same process may claim the job
-- again, and a release that is repeated because its answer was lost must not hit that claim. Fenced.
-- A job that was asked to stop is not run again: it is finished (cancelled).
with closed as (
    delete from queue.claimed
    using unnest($2::bigint[], $3::integer[]) as run (job_id, attempt)
    where claimed.job_id = run.job_id
        and claimed.attempt = run.attempt
        and claimed.process_id = $1
    returning claimed.job_id, claimed.seq, claimed.attempt, claimed.spent, claimed.crashes,
        claimed.claimed_at, cancel_requested_at is not null as is_cancelled, claimed.keys, claimed.slots
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, spent, crashes, queue, kind, track)
    select closed.job_id, closed.seq, closed.attempt, jobs.priority, closed.spent, closed.crashes,
        jobs.queue, jobs.kind, (jobs.limits is not null)::integer
    from closed
    join queue.jobs on jobs.id = closed.job_id
    where not is_cancelled
    returning queue, track
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
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when track > 0 then '@' || queue else queue end)
        from (select distinct queue, track from placed) as woken
        where exists (select from queue.sleepers)
    ) as notified
)
from closed
