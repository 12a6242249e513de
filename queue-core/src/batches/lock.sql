-- Locks the batches among targets ($1) that no other transaction has locked, in order.
select id
from queue.batches
where id = any ($1)
order by id
for no key update skip locked
