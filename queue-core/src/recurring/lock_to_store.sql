-- Locks a schedule that is about to be stored, if it is there, and then reads the clock: a plan made
-- before a wait for the lock could lie in the past.
with locked as (
    select name
    from queue.recurring_jobs
    where name = $1
    for update
)
select clock_timestamp()
from (select count(*) from locked) as held
