-- Removes up to $2 closed events that were emitted more than $1 ms ago.
delete from queue.events
where ctid = any (array(
    select ctid
    from queue.events
    where emitted_at < statement_timestamp() - $1 * interval '1 millisecond'
        and not is_open
    order by emitted_at
    limit $2
    for update skip locked
))
