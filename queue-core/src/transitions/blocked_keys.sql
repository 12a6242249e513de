-- Finds up to $2 keys with blocked jobs, in order, after the key $1. Reads one index entry for each key.
with recursive line as (
    (
        select key, 1 as place
        from queue.blocked
        where key > $1
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
        order by blocked.key
        limit 1
    ) as next
    where line.place < $2
)
select key from line
