-- Removes up to $1 rates whose starts are all free again: without a row, a key has all its starts.
with unused as (
    select key
    from queue.rates
    where next_at <= statement_timestamp()
    limit $1
    for update skip locked
), cleared as (
    delete from queue.rates where key = any (array(select key from unused))
)
select count(*) from unused
