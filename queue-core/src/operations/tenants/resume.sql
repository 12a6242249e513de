-- Resumes a tenant, and wakes the idle workers of fair queues.
with resumed as (
    update queue.tenants
    set paused_at = null, paused_by = null, paused_why = null
    where name = $1
        and paused_at is not null
    returning name
)
select name, (
    select count(*)
    from (
        select pg_notify('queue.wake', queues.name)
        from queue.queues
        where is_fair
            and exists (select from queue.idle_processes)
    ) as notified
)
from resumed
