-- Moves a schedule on to the first due time that has not been decided about. The row is locked.
update queue.recurring_jobs
set next_at = $2
where name = $1
