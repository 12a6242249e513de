-- Records a batch of an operation, whose row the transaction has locked.
update queue.operations
set below = $2, changed = $3, asked_to_stop = $4, left_out = $5,
    ended_at = case when $6 then statement_timestamp() end
where id = $1
