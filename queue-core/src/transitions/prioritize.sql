-- scheduled, ready, blocked: the priority becomes $2. A ready job gets a new place in line, so that it is
-- above the floor of its new lane; those that change together keep their order. The priority is kept in jobs
-- too, for further attempts. Skips locked rows: a job that a worker is claiming counts as claimed.
with was_ready as (
    delete from queue.ready
    where job_id = any (array(
        select job_id from queue.ready
        where job_id = any ($1) and priority <> $2 order by job_id for update skip locked
    ))
    returning *
), ready as (
    insert into queue.ready (
        job_id, seq, ready_at, attempt, priority, failures, crashes, frees_key, queue, kind, track,
        waited_for, tenant
    )
    select job_id, nextval('queue.job_seq'), ready_at, attempt, $2, failures, crashes, frees_key, queue, kind,
        track, waited_for, tenant
    from (select * from was_ready order by seq) as was_ready
    returning job_id, queue, track
), scheduled as (
    update queue.scheduled
    set priority = $2
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) and priority <> $2 order by job_id for update skip locked
    ))
    returning job_id
), blocked as (
    update queue.blocked
    set priority = $2
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) and priority <> $2 order by job_id for update skip locked
    ))
    returning job_id
), changed as (
    select job_id from ready
    union all
    select job_id from scheduled
    union all
    select job_id from blocked
), kept as (
    update queue.jobs
    set priority = $2
    where id = any (array(select job_id from changed))
)
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when track in (1, 2, 4) then '@' || queue else queue end)
        from (select distinct queue, track from ready) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from changed
