-- Locks the recurring jobs whose plan is more than a day after $1 (now, if null): they are seldom due,
-- or a wrong clock has moved the plan. Skips locked rows.
select name, schedule, zone, next_at, coalesce($1, statement_timestamp()) as now
from queue.recurring_jobs
where next_at > coalesce($1, statement_timestamp()) + interval '1 day'
    and paused_at is null
for update skip locked
