-- Lists tenants with jobs in one lane of a fair queue, up to $5 in the order of names, beginning after $4 and
-- going on at the first. With each its weight, 0 if it is paused, and whether its jobs may have limits.
-- Reads one index entry for each, in three parts, in order: after the last until the end, from the first,
-- and up to $4.
with recursive found as (
    select $4::text collate "C" as tenant, false as is_second_part, 0 as nth
    union all
    select next.tenant, next.is_second_part, nth + 1
    from found
    cross join lateral (
        (
            select ready.tenant, false as is_second_part
            from queue.ready
            where ready.queue = $1
                and ready.priority = $2
                and ready.track = $3
                and ready.track > 2
                and ready.tenant > found.tenant
                and not found.is_second_part
            order by ready.tenant, ready.seq
            limit 1
        )
        union all
        (
            select ready.tenant, true
            from queue.ready
            where ready.queue = $1
                and ready.priority = $2
                and ready.track = $3
                and ready.track > 2
                and ready.tenant <= $4
                and not found.is_second_part
            order by ready.tenant, ready.seq
            limit 1
        )
        union all
        (
            select ready.tenant, true
            from queue.ready
            where ready.queue = $1
                and ready.priority = $2
                and ready.track = $3
                and ready.track > 2
                and ready.tenant > found.tenant
                and ready.tenant <= $4
                and found.is_second_part
            order by ready.tenant, ready.seq
            limit 1
        )
        limit 1
    ) as next
    where nth < $5
)
select found.tenant, case when paused_at is null then coalesce(weight, 1) else 0 end::smallint as weight,
    $3 = 4
        or exists (select from queue.limits where name = '@queue/' || $1)
        or found.tenant = any (array(
            select substr(name, 9) from queue.limits where name > '@tenant/' and name < '@tenant0'
        ))
        or exists (select from queue.limits where name > '@kind/' and name < '@kind0') as is_gated
from found
left join lateral (
    select weight, paused_at from queue.tenants where tenants.name = found.tenant limit 1
) as setting on true
where nth > 0
order by nth
