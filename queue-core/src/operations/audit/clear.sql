-- Removes up to $2 acts that are more than $1 ms old. Looks only at the first $2, which are the oldest but
-- for those of transactions that were open for long.
with first as (
    select id, at
    from queue.audit
    order by id
    limit $2
)
delete from queue.audit
where id = any (array(
    select id from first where at < statement_timestamp() - $1 * interval '1 millisecond'
))
