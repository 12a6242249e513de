-- Returns which of some events exist, and which of the batches among them have ended. Waits for a transaction
-- that ends such a batch: it may not have seen a wait that was committed meanwhile. Locks batches in the order
-- of their ids.
with batch as materialized (
    select id, completed_at
    from queue.batches
    where id = any (array(
            select substr(name, 8)::bigint
            from unnest($1::text[]) as given (name)
            where name like '@batch/%'
        ))
    order by id
    for share
)
select name
from queue.events
where name = any ($1)
union all
select '@batch/' || id
from batch
where completed_at is not null
