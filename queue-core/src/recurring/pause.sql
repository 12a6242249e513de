-- Pauses a recurring job. One that is already paused keeps its time.
update queue.recurring_jobs
set paused_at = statement_timestamp()
where name = $1
    and paused_at is null
