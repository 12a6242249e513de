-- ready -> claimed, up to $6 jobs of one lane of a fair queue ($1), with priority $2, in turns: of each tenant
-- in $3 up to $9 jobs, between the places $4 and $8. In all else it is like claim.sql: of each tenant it
-- searches the index by equality and a range on seq.
--
-- Jobs of a tenant that is paused stay. Those of a limited tenant, queue or kind are claimed by
-- claim_front_fair.sql.
--
-- Locks rows of ready with skip locked. Continued by take.sql.
with picked as (
    select front.place
    from unnest($3::text[], $4::bigint[], $8::bigint[], $9::bigint[])
        as turn (tenant, above, up_to, jobs)
    cross join lateral (
        select ready.ctid as place
        from queue.ready
        where ready.queue = $1
            and ready.priority = $2
            and ready.track = 3
            and ready.tenant = turn.tenant
            and ready.seq > turn.above
            and ready.seq <= turn.up_to
            and ready.kind = any ($5)
            and ready.kind <> all (array(
                select substr(name, 7) from queue.limits where name > '@kind/' and name < '@kind0'
            ))
        order by ready.seq
        limit turn.jobs
        for update skip locked
    ) as front
    where $1 <> all (array(select name from queue.queues where paused_at is not null))
        and $1 <> all (array(
            select substr(name, 8) from queue.limits where name > '@queue/' and name < '@queue0'
        ))
        and (
            select paused_at from queue.tenants where tenants.name = turn.tenant limit 1
        ) is null
        and turn.tenant <> all (array(
            select substr(name, 9) from queue.limits where name > '@tenant/' and name < '@tenant0'
        ))
        and exists (select from queue.processes where id = $7)
    limit $6
