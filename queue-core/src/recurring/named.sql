-- Reads the job of a recurring job. The caller adds how the row is locked, so that it is not removed meanwhile.
select name, kind, args::text as args, queue, priority, attempts_max, crashes_max, tags, overlap,
    limits::text as limits, unique_rule::text as unique_rule, tenant,
    context::text as context
from queue.recurring_jobs
where name = $1
