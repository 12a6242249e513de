-- new -> ready, one job in one round trip, without delay and unique key.
-- Locks only its own new rows. Notifies only while a process is idle and none polls.
with job as (
    insert into queue.jobs (id, {columns})
    values ({place}, {values})
    returning id, priority, queue, kind, limits is not null as limited
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind, track)
    select id, id, priority, queue, kind, limited::integer
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
