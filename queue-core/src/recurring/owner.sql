-- Tells who declares a schedule; null when it was added at run time.
select source
from queue.schedules
where name = $1
