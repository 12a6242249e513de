-- Returns everything about one recurring job except its firings.
select name, schedule, zone, kind, queue, priority, attempts_max, crashes_max, tags, args, missed,
    missed_max, overlap, jitter_ms / 1000::float8 as jitter_seconds, source, created_at, updated_at, paused_at, next_at,
    clock_timestamp() as now
from queue.recurring_jobs
where name = $1
