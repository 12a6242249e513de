-- Finds the lanes with ready jobs, and whether they are gated: whether their jobs may have limits, of
-- their own, of their queue or of a kind. Reads one index entry for each lane.
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
