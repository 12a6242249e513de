-- Finds up to 1,000 keys of a name that jobs wait for: the key itself, and those of the group.
with recursive line as (
    (
        select key, 1 as place
        from queue.blocked
        where key >= $1
            and key < $1 || '0'
        order by key
        limit 1
    )
    union all
    select next.key, line.place + 1
    from line
    cross join lateral (
        select blocked.key
        from queue.blocked
        where blocked.key > line.key
            and blocked.key < $1 || '0'
        order by blocked.key
        limit 1
    ) as next
    where line.place < 1000
)
select key
from line
where key = $1
    or key like '%/%'
