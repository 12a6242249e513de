-- Takes the oldest operation that no other process works on. Its row stays locked until the end of the
-- transaction, so each batch is done by one process, and by another if that one dies.
select id, action, filter, who, role, why, created_at, below, stop_asked_at is not null as is_stopped,
    left_out, changed, asked_to_stop
from queue.operations
where ended_at is null
order by id
limit 1
for update skip locked
