-- Forgets the state of up to $1 rates that have all their starts again: it is as if there were none.
with rested as (
    select key
    from queue.rates
    where next_at <= statement_timestamp()
    limit $1
    for update skip locked
), cleared as (
    delete from queue.rates where key = any (array(select key from rested))
)
select count(*) from rested
