-- ready -> claimed, up to $6 jobs from a list of lanes, in the order of the lanes.
--
-- A lane is one priority of one queue between two places in line. The lower bound is the floor, up to
-- which the caller has claimed every job it saw. Without it, each claim would read the dead index
-- entries of all jobs claimed since the last vacuum. The index is searched by equality on (queue,
-- priority) and a range on seq, and the rows are addressed by ctid, so that the plan does not depend on
-- statistics.
--
-- Jobs with limits have lanes of their own (tracks 1 and 2). Those and all jobs of a limited queue or
-- kind are claimed by claim_limited.sql. Jobs of tenants in a fair queue are claimed by claim_fair.sql.
--
-- A process that has been declared dead claims nothing, even if it does not know it yet.
--
-- Locks rows of ready with skip locked: two claims never wait for each other. Continued by
-- take.sql.
with picked as (
    select front.place
    from unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[])
        as lane (queue, priority, above, up_to)
    cross join lateral (
        select ready.ctid as place
        from queue.ready
        where ready.queue = lane.queue
            and ready.priority = lane.priority
            and ready.track = 0
            and ready.seq > lane.above
            and ready.seq <= lane.up_to
            and ready.kind = any ($5)
            and ready.kind <> all (array(
                select substr(name, 7) from queue.limits where name > '@kind/' and name < '@kind0'
            ))
        order by ready.seq
        limit $6
        for update skip locked
    ) as front
    where lane.queue <> all (array(select name from queue.queues where paused_at is not null))
        and lane.queue <> all (array(
            select substr(name, 8) from queue.limits where name > '@queue/' and name < '@queue0'
        ))
        and exists (select from queue.processes where id = $7)
    limit $6
