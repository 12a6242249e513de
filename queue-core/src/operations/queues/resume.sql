-- A queue is resumed, and idle workers look at it at once.
with resumed as (
    update queue.queues
    set paused_at = null
    where name = $1
        and paused_at is not null
    returning name
)
select name, (
    select pg_notify('queue.wake', name) where exists (select from queue.idle_processes)
)
from resumed
