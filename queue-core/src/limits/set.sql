-- A limit is set by an operator ($5 false) or declared by a process that starts (true), which leaves
-- alone what an operator has set. What is not given is left to the jobs.
-- Says how many slots of the name's keys are in use beyond the new limit: they drain.
with written as (
    insert into queue.limits (name, slots, space, burst, declared)
    values ($1, $2, $3::interval, $4, $5)
    on conflict (name) do update
    set slots = excluded.slots, space = excluded.space, burst = excluded.burst,
        declared = excluded.declared, changed_at = clock_timestamp()
    where limits.declared
        or not excluded.declared
    returning name
)
select exists (select from written) as written, coalesce((
    select sum(greatest(0, count - $2))
    from (
        select count(*) as count
        from queue.slots
        where key = $1
            or (key >= $1 || '/' and key < $1 || '0')
        group by key
    ) as held
), 0)::bigint as beyond
