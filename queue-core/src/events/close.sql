-- Closes an event for which no job waits any more. A job whose wait is committed later looks for the event
-- itself then.
update queue.events
set is_open = false
where name = $1
    and is_open
    and not exists (select from queue.waits where waits.event = $1)
