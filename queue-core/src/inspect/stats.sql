-- Counts the jobs of each state, each up to $1 rows.
select
    (select count(*) from (select from queue.scheduled limit $1) as counted) as scheduled,
    standing.ready,
    (select count(*) from (select from queue.blocked limit $1) as counted) as blocked,
    (select count(*) from (select from queue.claimed limit $1) as counted) as running,
    (select count(*) from (select from queue.failed limit $1) as counted) as failed,
    (select count(*) from (select from queue.finished limit $1) as counted) as finished,
    standing.oldest_ready_seconds
from (
    select count(*) as ready,
        extract(epoch from clock_timestamp() - min(ready_at))::float8 as oldest_ready_seconds
    from (select ready_at from queue.ready limit $1) as counted
) as standing
