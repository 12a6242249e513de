-- Writes the heartbeat of a process, and returns what it was asked to do. Without a row, the process was
-- declared dead.
update queue.processes
set heartbeat_at = statement_timestamp(),
    stopping_at = case when $2 then coalesce(stopping_at, statement_timestamp()) end
where id = $1
returning asked as request, asked_by as by
