-- Returns which of some events exist.
select name
from queue.events
where name = any ($1)
