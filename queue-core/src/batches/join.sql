-- Locks batches ($1) against their end, in order, and returns those that still take jobs.
select id
from queue.batches
where id = any ($1)
    and completed_at is null
    and cancelled_at is null
order by id
for share
