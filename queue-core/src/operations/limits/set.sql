-- Sets a limit, for an operator ($5 false) or for a process that declares it (true). A process does
-- not change a limit that an operator has set. Null values stay as they were set before ($6 true), or
-- are left to the jobs (false).
-- Returns the limit that holds now, and how many slots of its keys are in use beyond it: they drain.
with written as (
    insert into queue.limits (name, slots, space, burst, declared, changed_at)
    values ($1, $2, $3::interval, $4, $5, statement_timestamp())
    on conflict (name) do update
    set slots = case when $6 then coalesce(excluded.slots, limits.slots) else excluded.slots end,
        space = case when $6 then coalesce(excluded.space, limits.space) else excluded.space end,
        burst = case when $6 then coalesce(excluded.burst, limits.burst) else excluded.burst end,
        declared = excluded.declared, changed_at = excluded.changed_at
    where limits.declared
        or not excluded.declared
    returning slots, space, burst
), holds as (
    select true as is_new, slots, space, burst
    from written
    union all
    select false, slots, space, burst
    from queue.limits
    where name = $1
        and not exists (select from written)
)
select is_new, slots, extract(epoch from space)::float8 as space_seconds, burst, coalesce((
    select sum(greatest(0, count - slots))
    from (
        select count(*) as count
        from queue.slots
        where key = $1
            or (key >= $1 || '/' and key < $1 || '0')
        group by key
    ) as held
), 0)::bigint as beyond
from holds
