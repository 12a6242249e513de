-- scheduled, ready, blocked -> scheduled until $2, or, if that time has come, scheduled -> ready. A job that
-- waits for other jobs stays blocked. Skips locked rows: a job that a worker is claiming counts as claimed.
with postponed as (
    update queue.scheduled
    set due_at = $2
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) and $2 > statement_timestamp() order by job_id for update skip locked
    ))
    returning job_id
), was_scheduled as (
    delete from queue.scheduled
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) and $2 <= statement_timestamp() order by job_id for update skip locked
    ))
    returning job_id, attempt, priority, failures, crashes, frees_key, queue, kind, limited
), was_ready as (
    delete from queue.ready
    where job_id = any (array(
        select job_id from queue.ready
        where job_id = any ($1) and $2 > statement_timestamp() order by job_id for update skip locked
    ))
    returning job_id, attempt, priority, failures, crashes, frees_key, queue, kind
), was_blocked as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1)
            and key <> '@after'
            and $2 > statement_timestamp()
        order by job_id
        for update skip locked
    ))
    returning job_id, attempt, priority, failures, crashes, frees_key, queue, kind
), waited as (
    select * from was_ready
    union all
    select * from was_blocked
), delayed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, failures, crashes, frees_key, queue, kind, limited)
    select job_id, $2, attempt, priority, failures, crashes, frees_key, queue, kind, limited
    from waited
    cross join lateral (
        select limits is not null as limited from queue.jobs where jobs.id = waited.job_id limit 1
    ) as job
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track, tenant)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, queue.ready_track(limited, tenant), tenant
    from (
        select was_scheduled.*, case when queue = any ((select queue.fair_queues())::text[]) then (
            select tenant from queue.jobs where jobs.id = was_scheduled.job_id limit 1
        ) end as tenant
        from was_scheduled
        order by job_id
    ) as was_scheduled
), moved as (
    select job_id from postponed
    union all
    select job_id from was_scheduled
    union all
    select job_id from waited
)
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limited from was_scheduled) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from moved
