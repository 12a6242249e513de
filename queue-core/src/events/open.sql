-- Returns up to $2 events after $1, by name, for which jobs may wait that have not been woken.
select name
from queue.events
where is_open
    and name > $1
order by name
limit $2
