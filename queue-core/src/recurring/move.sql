-- Moves the plan of a recurring job to its first due time that is not decided. The row is locked.
update queue.recurring_jobs
set next_at = $2
where name = $1
