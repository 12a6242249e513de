-- Asks an operation to stop after its present batch. One that has ended stays as it is.
update queue.operations
set stop_asked_at = statement_timestamp(), stopped_by = $2
where id = $1
    and ended_at is null
    and stop_asked_at is null
