-- Locks the schedules whose plan lies more than a day after $1 (now, when null): most of them are due
-- seldom, and some were moved on by a clock that was ahead. Skips what somebody else changes.
select name, schedule, zone, next_at, coalesce($1, statement_timestamp()) as now
from queue.recurring_jobs
where next_at > coalesce($1, statement_timestamp()) + interval '1 day'
    and paused_at is null
for update skip locked
