-- Returns up to $2 keys, in order after the key $1, that jobs hold or wait for, or that have a limit set
-- at run time: the limit, the jobs that hold slots, and the jobs that wait, counted up to $3 for each key.
with recursive waited as (
    (
        select key from queue.blocked where key > $1 order by key limit 1
    )
    union all
    select next.key
    from waited
    cross join lateral (
        select blocked.key from queue.blocked where blocked.key > waited.key order by key limit 1
    ) as next
), held as (
    (
        select key from queue.slots where key > $1 order by key limit 1
    )
    union all
    select next.key
    from held
    cross join lateral (
        select slots.key from queue.slots where slots.key > held.key order by key limit 1
    ) as next
), known as (
    (select key from waited where key <> '@after' limit $2)
    union
    (select key from held limit $2)
    union
    (select name from queue.limits where name > $1 order by name limit $2)
    order by key
    limit $2
)
select known.key, coalesce(of_key.slots, of_group.slots, own.slots) as slots,
    extract(epoch from coalesce(of_key.space, of_group.space, own.space))::float8 as space_seconds,
    coalesce(of_key.burst, of_group.burst, own.burst) as burst,
    case
        when of_key.name is not null and of_key.declared then 'configuration'
        when of_key.name is not null then 'operator'
        when of_group.name is not null and of_group.declared
            then 'configuration, for ' || of_group.name
        when of_group.name is not null then 'operator, for ' || of_group.name
        else 'job'
    end as set_by,
    holders.count as in_use, holders.jobs as holders, waiting.count as waiting,
    waiting.oldest as waiting_since, (
        select next_at - (burst - 1) * space
        from queue.rates
        where rates.key = known.key
            and next_at - (burst - 1) * space > clock_timestamp()
    ) as next_start_at
from known
cross join lateral (
    select count(*) as count, (array_agg(slots.job_id order by number))[:10] as jobs
    from queue.slots
    where slots.key = known.key
        and (expires_at is null or expires_at > clock_timestamp())
) as holders
cross join lateral (
    select count(*) as count, min(blocked_at) as oldest
    from (
        select blocked_at from queue.blocked where blocked.key = known.key limit $3
    ) as counted
) as waiting
left join lateral (
    select limits
    from queue.jobs
    where jobs.id = coalesce(
        holders.jobs[1],
        (select job_id from queue.blocked where blocked.key = known.key limit 1)
    )
) as job on true
left join lateral (
    select name, slots, space, burst
    from jsonb_to_recordset(job.limits) as own (
        key text, name text, slots integer, space interval, burst integer
    )
    where own.key = known.key
    limit 1
) as own on true
left join queue.limits as of_key on of_key.name = known.key
left join queue.limits as of_group on of_group.name = own.name
order by known.key
