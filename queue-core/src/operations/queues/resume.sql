-- Resumes a queue, and wakes idle workers.
with resumed as (
    update queue.queues
    set paused_at = null, paused_by = null, paused_why = null
    where name = $1
        and paused_at is not null
    returning name
)
select name, (
    select pg_notify('queue.wake', name)
    from (values (1)) as once
    where exists (select from queue.idle_processes)
)
from resumed
