-- new -> ready, one job in one round trip, without delay and unique key.
-- Locks only its own new rows. Notifies only while a process is idle and none polls.
with job as (
    insert into queue.jobs (id, {columns})
    values ({place}, {values})
    returning id, priority, queue, kind, limits is not null as limited, case
        when tenant is null then null
        when queue = any ((select queue.fair_queues())::text[]) then tenant
    end as fair_tenant
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind, track, tenant)
    select id, id, priority, queue, kind, queue.ready_track(limited, fair_tenant), fair_tenant
    from job
)
select id, (
    select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
    from (values (1)) as once
    where exists (select from queue.idle_processes)
        and not exists (
            select
            from queue.pollers
            where pollers.queue = job.queue
                and job.kind = any (pollers.kinds)
        )
)
from job
