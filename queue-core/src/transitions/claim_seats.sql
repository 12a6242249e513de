-- ready -> claimed, from lanes with limits, for simple jobs: those with one limit, of slots, and no
-- blocked jobs before them. Each tries to take the slot above those in use, or a random free one, and is
-- claimed if no other claim took it first. Of more than 32 slots, one is drawn without reading which are
-- free. The only slot of a key is not looked up either: the insert finds out whether it is free. It is left
-- to a job of the same queue and kind that was unblocked, also if the caller does not know its lane yet.
--
-- All other jobs, and those that did not get the slot, stay where they are. The row `left` stands for
-- them: claim_limited.sql decides about them. A key with more slots in use than its limit is not simple:
-- its limit was lowered, and it drains. When any limit is set at run time, no job is simple.
--
-- Locks rows of ready with skip locked, and takes slots in the order of keys and numbers. Continued by
-- claimed_jobs.sql.
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
            and (
                ready.tenant is null
                or (select paused_at from queue.tenants where name = ready.tenant limit 1) is null
            )
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
                (
                    select job_id
                    from queue.blocked
                    where blocked.key = own.key
                        and blocked.queue = front.queue
                        and blocked.kind = front.kind
                    limit 1
                ) is null
                and (own.slots > 1 or (
                    select job_id
                    from queue.ready
                    where ready.waited_for = own.key
                        and ready.queue = front.queue
                        and ready.kind = front.kind
                    limit 1
                ) is null)
            )
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
), claimed as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
    select job_id, seq, $8, next_attempt, failures, crashes, array[key], array[number]
    from won
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from won where frees_key))
        and held_in & queue.state_claimed() = 0
), decided as (
    select job_id, seq, ready_at, next_attempt as attempt, priority, failures, crashes, queue, kind,
        track, 'claimed' as decision, array[key] as keys
    from won
    union all
    select null, null, null, null, null, null, null, null, null, null, 'left', null
    from setting
    where has_any
        or (select count(*) from front) > (select count(*) from won)
)
