-- Finds the lanes that have ready jobs, by jumping along the claim index.
with recursive lane as (
    (
        select queue, priority
        from queue.ready
        order by queue, priority
        limit 1
    )
    union all
    select next.queue, next.priority
    from lane
    cross join lateral (
        select ready.queue, ready.priority
        from queue.ready
        where (ready.queue, ready.priority) > (lane.queue, lane.priority)
        order by ready.queue, ready.priority
        limit 1
    ) as next
)
select queue, priority
from lane
