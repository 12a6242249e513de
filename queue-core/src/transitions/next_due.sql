-- Finds how many milliseconds remain until the next scheduled job is due; none when there is none.
select ceil(extract(epoch from due_at - clock_timestamp()) * 1000)::bigint
from queue.scheduled
order by due_at
limit 1
