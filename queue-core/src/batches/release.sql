-- blocked -> ready, for jobs ($1) that need not wait any longer. Locks them in the order of their ids, with
-- skip locked: an operator may be running or cancelling them.
with freed as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) and key = '@after' order by job_id for update skip locked
    ))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, ready_at, attempt, priority, failures, crashes, frees_key, queue, kind, track,
        tenant)
    select job_id, nextval('queue.job_seq'), statement_timestamp(), attempt, priority, failures, crashes,
        frees_key, queue, kind, queue.ready_track(limited, fair_tenant), fair_tenant
    from (select * from freed order by job_id) as freed
    cross join lateral (
        select limits is not null as limited, case
            when tenant is null then null
            when freed.queue = any ((select queue.fair_queues())::text[]) then tenant
        end as fair_tenant
        from queue.jobs
        where jobs.id = freed.job_id
        limit 1
    ) as job
    returning queue, track
), uncounted as (
    delete from queue.deltas
    where target = any (array(select job_id from freed))
)
select count(*), (
    select count(*)
    from (
        select pg_notify('queue.wake', case when track in (1, 2, 4) then '@' || queue else queue end)
        from (select distinct queue, track from placed) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from freed
