-- Counts the jobs, up to $1, that should have been promoted more than $2 ms ago, and returns for how long
-- the first has been due.
select count(*) as count,
    extract(epoch from clock_timestamp() - min(due_at))::float8 as oldest_seconds
from (
    select due_at
    from queue.scheduled
    where due_at < statement_timestamp() - $2 * interval '1 millisecond'
    order by due_at
    limit $1
) as overdue
