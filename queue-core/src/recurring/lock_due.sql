-- Locks the recurring job that has been due for longest at $1 (now, if null), without those named in
-- $2. Skips rows that other schedulers have locked. A kind that is not in $3 is left to other
-- schedulers for five seconds: they may know its limits and its unique key. Without $3, no kind is.
select name, schedule, zone, kind, args::text as args, queue, priority, attempts_max, crashes_max,
    tags, missed, missed_max, overlap, jitter_ms, limits::text as limits,
    unique_rule::text as unique_rule, tenant, context::text as context, next_at, coalesce($1, statement_timestamp()) as now
from queue.recurring_jobs
where next_at <= coalesce($1, statement_timestamp())
    and paused_at is null
    and name <> all ($2::text[])
    and (
        $3::text[] is null
        or kind = any ($3)
        or next_at <= coalesce($1, statement_timestamp()) - interval '5 s'
    )
order by next_at
limit 1
for update skip locked
