-- Returns up to $1 events for which jobs may wait that have not been woken.
select name
from queue.events
where is_open
order by name
limit $1
