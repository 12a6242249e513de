-- Reads up to $7 ready jobs from lanes with limits, in the order of the lanes, and locks them with skip
-- locked. admit.rs decides about them, and claim_limited.sql carries that out in the same transaction.
--
-- Returns a row per job and limit, in order; a job without limits has one whose key is null. What is left of
-- a key is in its first row: slots in use, free starts, and the free numbers if there are some below the
-- highest in use.
--
-- The limits of a job are its own, unless it is on track 0, and those of its kind and queue, and in a fair
-- queue that of its tenant. A job that an operator ran anyway has only that of its queue. What is set at run
-- time wins over what the job brings: for the key, then for its group.
--
-- The lanes of a queue that has all its slots in use are not read. Continued by front_limits.sql.
with setting as (
    -- Without limits set at run time, their table is not read for each job.
    select exists (select from queue.limits) as has_any
), front as (
    select lane.position, front.*
    from unnest($1::text[], $2::smallint[], $3::smallint[], $4::bigint[], $5::bigint[])
        with ordinality as lane (queue, priority, track, above, up_to, position)
    left join lateral (
        select name, slots from queue.limits where limits.name = '@queue/' || lane.queue limit 1
    ) as own on true
    cross join lateral (select count(*) as used from queue.slots where key = own.name) as held
    cross join lateral (
        select ready.*
        from queue.ready
        where ready.queue = lane.queue
            and ready.priority = lane.priority
            and ready.track = lane.track
            and ready.seq > lane.above
            and ready.seq <= lane.up_to
            and ready.kind = any ($6)
            and (
                ready.tenant is null
                or (select paused_at from queue.tenants where name = ready.tenant limit 1) is null
            )
        order by ready.seq
        limit case when own.slots <= held.used then 0 else $7::bigint end
        for update skip locked
    ) as front
    where lane.queue <> all (array(select name from queue.queues where paused_at is not null))
    limit $7::bigint
