-- Ends an operation that cannot go on.
update queue.operations
set ended_at = statement_timestamp(), error = $2
where id = $1
    and ended_at is null
