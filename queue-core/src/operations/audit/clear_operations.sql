-- Removes up to $2 operations that ended more than $1 ms ago, as clear.sql does with acts.
with first as (
    select id, ended_at
    from queue.operations
    order by id
    limit $2
)
delete from queue.operations
where id = any (array(
    select id from first where ended_at < statement_timestamp() - $1 * interval '1 millisecond'
))
