-- Closes those of some events for which no job waits any more. A job whose wait is committed later looks for
-- the event itself then.
update queue.events
set is_open = false
where name = any ($1)
    and is_open
    and (select true from queue.waits where waits.event = events.name limit 1) is null
