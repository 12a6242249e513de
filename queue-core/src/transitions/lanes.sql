-- Finds the lanes with ready jobs, and whether they are gated: whether their jobs may have limits, of
-- their own, of their queue or of a kind. Reads one index entry for each lane.
--
-- Of the lanes $1 to $3 it reads only places after $4, the floor, and returns them in any case. Other
-- lanes are looked for in the gaps between those. So it does not walk over the dead index entries of
-- jobs that were claimed before. A gap is searched in five parts, in order, because an index scan
-- that is bounded by a row of columns ends only with the first of them.
with recursive known as (
    select queue collate "C" as queue, priority, track, above
    from unnest($1::text[], $2::smallint[], $3::smallint[], $4::bigint[])
        as known (queue, priority, track, above)
), gap as (
    -- No name of a queue sorts before the empty text or after a tilde.
    select queue, priority, track, lead(queue, 1, '~') over in_order as next_queue,
        lead(priority, 1, 0::smallint) over in_order as next_priority,
        lead(track, 1, 0::smallint) over in_order as next_track
    from (
        select queue, priority, track from known
        union all
        select '', 0::smallint, 0::smallint
    ) as edge
    window in_order as (order by queue, priority, track)
), other as (
    select queue, priority, track, next_queue, next_priority, next_track, false as is_found
    from gap
    union all
    select next.queue, next.priority, next.track, other.next_queue, other.next_priority,
        other.next_track, true
    from other
    cross join lateral (
        (
            select ready.queue, ready.priority, ready.track
            from queue.ready
            where ready.queue = other.queue
                and ready.priority = other.priority
                and ready.track > other.track
                and ready.track < case
                    when other.next_queue > other.queue or other.next_priority > other.priority
                        then 32768
                    else other.next_track
                end
            order by ready.queue, ready.priority, ready.track
            limit 1
        )
        union all
        (
            select ready.queue, ready.priority, ready.track
            from queue.ready
            where ready.queue = other.queue
                and ready.priority > other.priority
                and ready.priority < case
                    when other.next_queue > other.queue then 32768
                    else other.next_priority
                end
            order by ready.queue, ready.priority, ready.track
            limit 1
        )
        union all
        (
            select ready.queue, ready.priority, ready.track
            from queue.ready
            where ready.queue > other.queue
                and ready.queue < other.next_queue
            order by ready.queue, ready.priority, ready.track
            limit 1
        )
        union all
        (
            select ready.queue, ready.priority, ready.track
            from queue.ready
            where ready.queue = other.next_queue
                and ready.priority < other.next_priority
                and other.next_queue > other.queue
            order by ready.queue, ready.priority, ready.track
            limit 1
        )
        union all
        (
            select ready.queue, ready.priority, ready.track
            from queue.ready
            where ready.queue = other.next_queue
                and ready.priority = other.next_priority
                and ready.track < other.next_track
                and (other.next_queue > other.queue or other.next_priority > other.priority)
            order by ready.queue, ready.priority, ready.track
            limit 1
        )
        limit 1
    ) as next
), lane as (
    select known.queue, known.priority, known.track, first.seq is not null as has_jobs
    from known
    left join lateral (
        select ready.seq
        from queue.ready
        where ready.queue = known.queue
            and ready.priority = known.priority
            and ready.track = known.track
            and ready.seq > known.above
        order by ready.seq
        limit 1
    ) as first on true
    union all
    select queue, priority, track, true
    from other
    where is_found
)
select queue, priority, track, has_jobs,
    track > 0
        or exists (select from queue.limits where name = '@queue/' || queue)
        or exists (select from queue.limits where name > '@kind/' and name < '@kind0') as is_gated
from lane
