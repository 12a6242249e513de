-- Returns the most ready jobs of the queues $1 in each hour since $2 in which they had jobs.
select queue, at, ready
from queue.depths
where span = 60
    and queue = any ($1)
    and at >= $2
