-- ready → claimed, from lanes with limits, for the many jobs that have one limit, of slots, and nobody
-- before them: each takes the slot above those in use, or one of the free ones by lot, and is claimed if
-- nobody was faster. Of more than 32 slots one is drawn without asking which are free, and whether the
-- only slot of a key is in use is not asked at all: taking it tells.
-- What has lost, or is not as simple as that, is left where it is, and a row says so:
-- claim_limited.sql decides about it.
--
-- A key with slots beyond the limit is not simple either: its limit was lowered, and it drains. As
-- soon as anything is set at run time, everything is left.
--
-- Locks rows of ready with skip locked, and takes slots in the order of keys and numbers.
with setting as (
    select exists (select from queue.limits) as has_any
), front as materialized (
    select lane.position, front.*
    from unnest($1::text[], $2::smallint[], $3::smallint[], $4::bigint[], $5::bigint[])
        with ordinality as lane (queue, priority, track, above, up_to, position)
    cross join lateral (
        select ready.ctid as place, ready.*
        from queue.ready
        where ready.queue = lane.queue
            and ready.priority = lane.priority
            and ready.track = lane.track
            and ready.seq > lane.above
            and ready.seq <= lane.up_to
            and ready.kind = any ($6)
        order by ready.seq
        limit $7::bigint
        for update skip locked
    ) as front
    where lane.queue <> all (array(select name from queue.queues where paused_at is not null))
        and exists (select from queue.processes where id = $8)
        and not (select has_any from setting)
    limit $7::bigint
), simple as materialized (
    select front.*, own.key, own.hold, case
        when top.number < own.slots then top.number + 1
        when own.slots > 32 then 1 + floor(random() * own.slots)::integer
        else (
            select number
            from generate_series(1, own.slots) as free (number)
            where not exists (
                select from queue.slots where slots.key = own.key and slots.number = free.number
            )
            order by random()
            limit 1
        )
    end as number
    from front
    cross join lateral (select limits from queue.jobs where jobs.id = front.job_id limit 1) as job
    cross join lateral jsonb_to_recordset(
        case when front.track > 0 and jsonb_array_length(job.limits) = 1 then job.limits end
    ) as own (key text, slots integer, space interval, hold interval)
    cross join lateral (
        select coalesce(max(slots.number), 0) as number
        from queue.slots
        where slots.key = own.key
            and slots.number > (own.slots = 1)::integer
    ) as top
    where own.slots is not null
        and own.space is null
        and top.number <= own.slots
        and (
            front.track = 2
            or (
                select job_id
                from queue.blocked
                where blocked.key = own.key
                    and blocked.queue = front.queue
                    and blocked.kind = front.kind
                limit 1
            ) is null
        )
), grabbed as (
    insert into queue.slots (key, number, job_id, expires_at)
    select key, number, job_id, statement_timestamp() + hold
    from simple
    where number is not null
    order by key, number, position, seq
    on conflict (key, number) do nothing
    returning job_id
), won as materialized (
    select *, attempt + 1 as next_attempt
    from simple
    where (job_id in (select job_id from grabbed)) is true
), taken as (
    delete from queue.ready
    where ctid = any (array(select place from won))
), held as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
    select job_id, seq, $8, next_attempt, failures, crashes, array[key], array[number]
    from won
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from won where frees_key))
        and held_in & 4 = 0
)
select job_id, seq, ready_at, next_attempt as attempt, priority, failures, crashes, queue, kind,
    attempts_max, crashes_max, created_at, has_key, tags, args, track, 'claimed' as fate,
    array[key] as keys
from won
cross join lateral (
    select attempts_max, crashes_max, created_at, unique_key is not null as has_key, tags, args
    from queue.jobs
    where jobs.id = won.job_id
    limit 1
) as job
union all
select null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
    'left', null
from setting
where has_any
    or (select count(*) from front) > (select count(*) from won)
