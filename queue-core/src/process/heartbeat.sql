-- A process says that it lives. No row means that it was declared dead.
update queue.processes
set heartbeat_at = clock_timestamp(),
    stopping_at = case when $2 then coalesce(stopping_at, clock_timestamp()) end
where id = $1
