-- Closes a batch. Returns nothing if there is none.
update queue.batches
set closed_at = coalesce(closed_at, statement_timestamp())
where id = $1
returning id
