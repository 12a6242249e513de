-- Finds the lanes that have ready jobs, by jumping along the claim index, and whether their jobs have
-- gates: limits of their own, of their queue or of some kind.
with recursive lane as (
    (
        select queue, priority, track
        from queue.ready
        order by queue, priority, track
        limit 1
    )
    union all
    select next.queue, next.priority, next.track
    from lane
    cross join lateral (
        select ready.queue, ready.priority, ready.track
        from queue.ready
        where (ready.queue, ready.priority, ready.track) > (lane.queue, lane.priority, lane.track)
        order by ready.queue, ready.priority, ready.track
        limit 1
    ) as next
)
select queue, priority, track,
    track > 0
        or exists (select from queue.limits where name = '@queue/' || queue)
        or exists (select from queue.limits where name > '@kind/' and name < '@kind0') as is_gated
from lane
