-- Returns the most jobs of the queue $1, or of all for '*', in each span of $4 since $3 in which there was a
-- sample, from the rows about $2 minutes.
select date_bin($4, at, 'epoch'::timestamptz) as at,
    coalesce(max(ready) filter (where queue = $1), 0) as ready,
    coalesce(max(scheduled) filter (where queue = $1), 0) as scheduled,
    coalesce(max(blocked) filter (where queue = $1), 0) as blocked,
    coalesce(max(running) filter (where queue = $1), 0) as running,
    coalesce(max(failed) filter (where queue = $1), 0) as failed,
    (max(oldest_ms) filter (where queue = $1) / 1000.0)::float8 as oldest_ready_seconds,
    bool_or(is_least) as at_least
from queue.depths
where span = $2
    and queue = any (array[$1, '*'])
    and at >= $3
group by 1
order by 1
