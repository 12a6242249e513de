-- A schedule is paused. One that is paused already keeps its time.
update queue.recurring_jobs
set paused_at = clock_timestamp()
where name = $1
    and paused_at is null
