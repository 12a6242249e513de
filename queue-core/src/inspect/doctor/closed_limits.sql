-- Finds up to 100 limits that are 0, with the jobs that wait for them, counted up to $1. The jobs of a
-- queue with such a limit wait in ready.
select name, count
from queue.limits
cross join lateral (
    select count(*) as count
    from (
        (
            select
            from queue.blocked
            where key = name
                or (key >= name || '/' and key < name || '0')
            limit $1
        )
        union all
        (
            select
            from queue.ready
            where name like '@queue/%'
                and queue = substr(name, length('@queue/') + 1)
            limit $1
        )
    ) as counted
) as waiting
where slots = 0
    and count > 0
order by name
limit 100
