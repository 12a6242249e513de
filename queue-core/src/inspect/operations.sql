-- Returns operations with their progress. Continued by which.
select id, action, filter, who, why, created_at, stop_asked_at, stopped_by, ended_at, error, counted,
    counted_at_least, changed, asked_to_stop, left_out, clock_timestamp() as now
from queue.operations
