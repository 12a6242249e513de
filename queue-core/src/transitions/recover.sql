-- claimed → ready, scheduled, failed or finished (cancelled), for the jobs of processes that are dead:
-- silent for longer than $1 ms, or gone without a row; up to $3 of them. Their rows go too. Looking for jobs of
-- processes without a row reads the whole table, so it is done only when asked for ($2).
--
-- One job that kills its process takes all down with it that the process held. So that they do not
-- meet at the next claim again and are charged for each other's crashes, they come back at new
-- places, and from the second crash on at times drawn by lot.
--
-- Each job's crash is counted and kept as an attempt; one that has seen crashes_max of them
-- fails. Skips what another process is recovering, or a late finish is closing, right now.
with dead as (
    delete from queue.processes
    where id = any (array(
        select id
        from queue.processes
        where heartbeat_at < clock_timestamp() - $1 * interval '1 millisecond'
        for update skip locked
    ))
    returning id, name
), awake as (
    delete from queue.sleepers
    where process_id in (select id from dead)
        or not exists (select from queue.processes where processes.id = process_id)
), polling as (
    delete from queue.pollers
    where process_id in (select id from dead)
        or not exists (select from queue.processes where processes.id = process_id)
), orphaned as (
    delete from queue.claimed
    where ctid = any (array(
        select claimed.ctid
        from queue.claimed
        where ($2 or exists (select from dead))
            and (
                process_id in (select id from dead)
                or not exists (select from queue.processes where processes.id = process_id)
            )
        limit $3
        for update skip locked
    ))
    returning *
), judged as (
    select orphaned.*, job.priority, job.queue, job.kind, job.limited,
        coalesce((select name from dead where id = process_id), process_id::text) as process,
        case
            when cancel_requested_at is not null then 'finished'
            when crashes + 1 >= crashes_max then 'failed'
            when crashes > 0 then 'scheduled'
            else 'ready'
        end as next
    from orphaned
    cross join lateral (
        select priority, queue, kind, limits is not null as limited, crashes_max
        from queue.jobs
        where jobs.id = orphaned.job_id
        limit 1
    ) as job
), logged as (
    insert into queue.attempts (job_id, attempt, started_at, process, ending, error)
    select job_id, attempt, claimed_at, process, 'crash',
        'process ' || process || ' died while it held this job'
    from judged
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, spent, crashes, queue, kind, track)
    select job_id, nextval('queue.job_seq'), attempt, priority, spent, crashes + 1, queue, kind,
        limited::integer
    from (select * from judged where next = 'ready' order by seq) as next_in_line
), postponed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, spent, crashes, queue, kind, limited)
    select job_id, clock_timestamp() + random() * interval '10 seconds', attempt, priority, spent,
        crashes + 1, queue, kind, limited
    from judged
    where next = 'scheduled'
), failed as (
    insert into queue.failed (job_id, attempt, spent, crashes, queue, kind)
    select job_id, attempt, spent, crashes + 1, queue, kind
    from judged
    where next = 'failed'
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, claimed_at, attempt, 'cancelled'
    from judged
    where next = 'finished'
), vacated as (
    delete from queue.slots
    where ctid = any (array(
        select slot.place
        from orphaned
        cross join lateral unnest(orphaned.keys, orphaned.slots) as held (key, number)
        cross join lateral (
            select ctid as place
            from queue.slots
            where slots.key = held.key
                and slots.number = held.number
                and slots.job_id = orphaned.job_id
            limit 1
        ) as slot
    ))
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from judged where next in ('failed', 'finished')))
        and held_in & (case when job_id = any (array(
            select job_id from judged where next = 'failed'
        )) then 16 else 32 end) = 0
)
select process, job_id, kind, queue, next, keys, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limited from judged where next = 'ready') as woken
        where exists (select from queue.sleepers)
    ) as notified
)
from judged
order by job_id
