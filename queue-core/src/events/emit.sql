-- Writes an event, unless one of its name exists: the first one stays. Jobs that wait for it are woken after
-- the commit, by a process that finds it open. If a job waits already, processes are notified. Returns a row
-- if the event is the first.
with emitted as (
    insert into queue.events (emitted_at, is_open, name, payload)
    values (statement_timestamp(), true, $1, $2::json)
    on conflict do nothing
    returning name
)
select (
    select count(*)
    from (
        select pg_notify('queue.emitted', '')
        from queue.waits
        where waits.event = emitted.name
        limit 1
    ) as notified
)
from emitted
