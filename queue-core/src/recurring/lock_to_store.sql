-- Locks a recurring job before it is stored, if it exists, and then reads the clock: a plan computed
-- before waiting for the lock could be in the past.
with locked as (
    select name
    from queue.recurring_jobs
    where name = $1
    for update
)
select clock_timestamp()
from (select count(*) from locked) as held
