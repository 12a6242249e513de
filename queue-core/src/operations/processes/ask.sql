-- Asks a process for $2, in the name of $3; for nothing means that it claims jobs again. Changes nothing if
-- it was asked for the same before, or is stopping. Returns whether something changed, if it has a row.
with found as (
    select id, asked, stopping_at
    from queue.processes
    where id = $1
    for update
), changed as (
    update queue.processes
    set asked = $2, asked_by = $3, asked_at = statement_timestamp()
    from found
    where processes.id = found.id
        and found.asked is distinct from $2
        and found.asked is distinct from 'stop'
        and found.stopping_at is null
    returning processes.id
)
select exists (select from changed) from found
