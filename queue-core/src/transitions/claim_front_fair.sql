-- Reads up to $7 ready jobs from one lane of a fair queue whose jobs may have limits: that of queue $1, priority $2
-- and track $3, of each tenant in $8 up to $9 jobs between the places $4 and $5. Jobs of a tenant that is
-- paused stay. In all else it is like claim_front.sql. Locks the rows with skip locked. Continued by
-- front_limits.sql.
with setting as (
    select exists (select from queue.limits) as has_any
), front as (
    select turn.position, front.*
    from unnest($8::text[], $4::bigint[], $5::bigint[], $9::bigint[])
        with ordinality as turn (tenant, above, up_to, jobs, position)
    left join lateral (
        select name, slots from queue.limits where limits.name = '@queue/' || $1 limit 1
    ) as own on true
    cross join lateral (select count(*) as used from queue.slots where key = own.name) as held
    cross join lateral (
        select ready.*
        from queue.ready
        where ready.queue = $1
            and ready.priority = $2
            and ready.track = $3
            and ready.track > 2
            and ready.tenant = turn.tenant
            and ready.seq > turn.above
            and ready.seq <= turn.up_to
            and ready.kind = any ($6)
        order by ready.seq
        limit case when own.slots <= held.used then 0 else turn.jobs end
        for update skip locked
    ) as front
    where $1 <> all (array(select name from queue.queues where paused_at is not null))
        and (
            select paused_at from queue.tenants where tenants.name = turn.tenant limit 1
        ) is null
    limit $7::bigint
