-- Returns the kinds of ready jobs that no process knows, of jobs that have waited for $1 ms. Looks at the
-- first $2 jobs of each lane: claims pass jobs of unknown kinds, which so come to the front.
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
select distinct front.kind
from lane
cross join lateral (
    select ready.kind, ready.ready_at
    from queue.ready
    where ready.queue = lane.queue
        and ready.priority = lane.priority
        and ready.track = lane.track
    order by ready.seq
    limit $2
) as front
where front.ready_at < statement_timestamp() - $1 * interval '1 millisecond'
    and front.kind <> all (array(
        select jsonb_array_elements_text(details -> 'kinds') from queue.processes
    ))
order by front.kind
