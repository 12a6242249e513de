-- Locks the recurring job that has been due for longest at $1 (now, if null), without those named in
-- $2. Skips rows that other schedulers have locked.
select name, schedule, zone, kind, args::text as args, queue, priority, attempts_max, crashes_max,
    tags, missed, missed_max, overlap, jitter_ms, limits::text as limits, next_at,
    coalesce($1, statement_timestamp()) as now
from queue.recurring_jobs
where next_at <= coalesce($1, statement_timestamp())
    and paused_at is null
    and name <> all ($2::text[])
order by next_at
limit 1
for update skip locked
