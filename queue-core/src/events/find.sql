-- Reads what an event has brought.
select payload
from queue.events
where name = $1
