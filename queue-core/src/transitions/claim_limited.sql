-- ready -> claimed, blocked or finished (discarded, cancelled), from lanes with limits: looks at up to
-- $8 jobs in the order of the lanes, claims up to $7 of those that get all their slots and starts,
-- and parks those that cannot get them. A job about which nothing can be decided now stays where it is.
--
-- The limits of a job are its own, unless it is on track 0, and those of its kind and queue. A job that
-- an operator ran anyway has only that of its queue.
--
-- A slot is a row whose number goes from 1 to the limit. Two claims that want the same number meet at
-- the primary key: the second waits until the first commits, and goes without. So no limit is exceeded,
-- although nothing is locked beforehand. A claim that got only some of its slots or starts is written
-- all the same, and returned as partial. The caller releases it at once; if the caller dies, recovery
-- removes the slots together with the claim.
--
-- A job is parked in two cases: claimed jobs before it use up a limit, or other jobs of its queue and
-- kind are blocked by the same key, and have the first right to room that was just made. A job that was
-- unblocked and finds no room again returns to the front of its key's line. A queue that has all its
-- slots in use parks nothing: its lanes are read only as far as there is room.
--
-- Locks rows of ready with skip locked. Slots are taken in the order of keys and numbers, and then
-- starts in the order of keys, so that no two claims wait for each other.
with setting as (
    -- Without limits set at run time, their table is not read for each job.
    select exists (select from queue.limits) as has_any
), front as (
    -- The jobs to decide about. As many are read as may have to be parked before one is claimed.
    select lane.position, front.*
    from unnest($1::text[], $2::smallint[], $3::smallint[], $4::bigint[], $5::bigint[])
        with ordinality as lane (queue, priority, track, above, up_to, position)
    left join lateral (
        select name, slots from queue.limits where limits.name = '@queue/' || lane.queue limit 1
    ) as own on true
    cross join lateral (select count(*) as used from queue.slots where key = own.name) as held
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
        limit case when own.slots <= held.used then 0 else $8::bigint end
        for update skip locked
    ) as front
    where lane.queue <> all (array(select name from queue.queues where paused_at is not null))
        and exists (select from queue.processes where id = $9)
    limit $8::bigint
), gate as (
    -- A row per job and limit. What is set at run time wins over what the job brings: for the key,
    -- then for its group.
    select front.*, own.key, own.conflict, own.hold,
        coalesce(of_key.slots, of_group.slots, own.slots) as slots,
        coalesce(of_key.space, of_group.space, own.space) as space,
        coalesce(of_key.burst, of_group.burst, own.burst) as burst,
        row_number() over (partition by own.key order by front.position, front.seq) as rank,
        count(*) over (partition by own.key) as asked,
        front.track < 2 and exists (
            select
            from queue.blocked
            where blocked.key = own.key
                and blocked.queue = front.queue
                and blocked.kind = front.kind
                and (blocked.priority, blocked.seq) < (front.priority, front.seq)
        ) as is_behind
    from front
    cross join lateral (select limits from queue.jobs where jobs.id = front.job_id limit 1) as job
    left join lateral (
        select key, name, slots, space, burst, conflict, hold
        from jsonb_to_recordset(case when front.track > 0 then job.limits end) as brought (
            key text, name text, slots integer, space interval, burst integer, conflict text,
            hold interval
        )
        union all
        select name, name, slots, space, burst, null, null
        from queue.limits
        where name in ('@queue/' || front.queue, case
            when front.track > 0
                or not exists (
                    select from queue.bypasses where job_id = front.job_id and at = front.ready_at
                )
                then '@kind/' || front.kind
        end)
            and (select has_any from setting)
    ) as own on true
    left join lateral (
        select slots, space, burst
        from queue.limits
        where limits.name = own.key
            and (select has_any from setting)
        limit 1
    ) as of_key on true
    left join lateral (
        select slots, space, burst
        from queue.limits
        where limits.name = own.name
            and (select has_any from setting)
        limit 1
    ) as of_group on true
), counted as (
    -- What is left of each key, read once, at its first job: slots in use, free starts, and the free
    -- numbers if those above the highest do not suffice.
    select gate.*,
        first_value(held.used) over by_key as used,
        first_value(held.top) over by_key as top,
        first_value(spare.numbers) over by_key as numbers,
        first_value(case when rank = 1 and space is not null then
            burst - ceil(extract(epoch from coalesce((
                select case
                    when next_at > now.at + burst * space + interval '1 second' then interval '0'
                    else greatest(interval '0', next_at - now.at)
                end
                from queue.rates
                cross join (select clock_timestamp() as at) as now
                where rates.key = gate.key
            ), interval '0')) / extract(epoch from space))
        end) over by_key as free_starts
    from gate
    cross join lateral (
        select count(*)::integer as used, max(number) as top
        from queue.slots
        where slots.key = gate.key
            and gate.rank = 1
    ) as held
    cross join lateral (
        select case when held.top + gate.asked > gate.slots then array(
            select free.number
            from generate_series(1, least(held.used + gate.asked, gate.slots)) as free (number)
            where not exists (
                select from queue.slots where slots.key = gate.key and slots.number = free.number
            )
            order by free.number
            limit gate.asked
        ) end as numbers
    ) as spare
    window by_key as (partition by key order by position, seq)
), judged as (
    -- A job fits when all its limits have room for it and for the jobs before it.
    select counted.*, slots - used as free_slots,
        bool_and(
            key is null
                or (not is_behind and coalesce(rank <= least(slots - used, free_starts), true))
        ) over (partition by position, seq) as fits
    from counted
), seated as materialized (
    -- The order in which jobs that fit are claimed, and the place of each among those of its key.
    -- Jobs that do not fit take no room from those behind them.
    select judged.*,
        count(*) filter (where fits) over (partition by key order by position, seq) as nth,
        dense_rank() over (order by fits desc, position, seq) as seat
    from judged
), numbered as materialized (
    -- The slot number that each job tries to take.
    select seated.*, case
        when slots is null then null
        when numbers is null then coalesce(top, 0) + nth
        else numbers[nth]
    end as number
    from seated
    where fits
        and seat <= $7::bigint
), grabbed as (
    -- A number that another claim took meanwhile is left to that claim.
    insert into queue.slots (key, number, job_id, expires_at)
    select key, number, job_id, statement_timestamp() + hold
    from numbered
    where number is not null
    order by key, number
    on conflict (key, number) do nothing
    returning job_id, key
), metered as (
    -- Starts are counted after slots were taken, on the locked row of the rate: the estimate above
    -- may be stale, so the row says how many were granted.
    insert into queue.rates as rate (key, next_at, space, burst, granted)
    select key, clock_timestamp() + count(*) * min(space), min(space), min(burst), count(*)
    from numbered
    where space is not null
        and (select count(*) from grabbed) >= 0
    group by key
    order by key
    on conflict (key) do update
    set (next_at, space, burst, granted) = (
        select due.at + got.starts * excluded.space, excluded.space, excluded.burst, got.starts
        from (select clock_timestamp() as at) as now
        cross join lateral (
            select case
                when rate.next_at
                    > now.at + excluded.burst * excluded.space + interval '1 second' then now.at
                else greatest(now.at, rate.next_at)
            end as at
        ) as due
        cross join lateral (
            select greatest(0, least(excluded.granted, excluded.burst - ceil(
                extract(epoch from due.at - now.at) / extract(epoch from excluded.space)
            )))::integer as starts
        ) as got
    )
    returning key, granted
), checked as (
    -- Whether each job got what it tried to take.
    select numbered.*,
        number is null or (job_id, key) in (select job_id, key from grabbed) as has_slot,
        space is null or nth <= (
            select granted from metered where metered.key = numbered.key
        ) as has_start
    from numbered
), won as materialized (
    -- A job that got any slot is claimed, or its slot would belong to no claim.
    select position, seq, place, job_id, ready_at, attempt + 1 as attempt, priority, failures, crashes,
        frees_key, queue, kind, track,
        array_agg(key) filter (where number is not null and has_slot) as keys,
        array_agg(number) filter (where number is not null and has_slot) as numbers,
        bool_and(has_slot and has_start) as is_whole
    from checked
    group by position, seq, place, job_id, ready_at, attempt, priority, failures, crashes, frees_key,
        queue, kind, track
    having bool_or(has_slot)
), taken as (
    delete from queue.ready
    where ctid = any (array(select place from won))
), claimed as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
    select job_id, seq, $9, attempt, failures, crashes, keys, numbers
    from won
), stuck as materialized (
    -- Jobs without room, each under one key. Only claimed jobs may push others aside: when a job that
    -- fits was left for lack of room in the process, its keys park nothing.
    select distinct on (position, seq) seated.*,
        attempt = 0 and coalesce(conflict = 'discard', false) and coalesce((
            select min(expires_at) from queue.slots where slots.key = seated.key
        ) > statement_timestamp(), true) as is_refused,
        attempt = 0 and coalesce(conflict = 'replace', false) as replaces
    from seated
    where not fits
        and (is_behind or nth >= free_starts or (nth >= free_slots and key not like '@queue/%'))
        and key <> all (array(
            select key from seated where fits and seat > $7::bigint and key is not null
        ))
    order by position, seq, key
), ranked as materialized (
    -- Of jobs that replace others, the newest stays.
    select stuck.*, case
        when is_refused then 'discarded'
        when replaces and job_id < max(job_id) filter (where replaces) over (partition by key)
            then 'cancelled'
        else 'blocked'
    end as decision
    from stuck
), parked as (
    delete from queue.ready
    where ctid = any (array(select place from ranked))
), blocked as (
    insert into queue.blocked
        (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
    select job_id, case when track = 2 then job_id else seq end, attempt, priority, failures, crashes,
        frees_key, replaces, key, queue, kind
    from ranked
    where decision = 'blocked'
), overtaken as (
    -- Blocked jobs that a newer one replaces.
    delete from queue.blocked
    where job_id = any (array(
        select older.job_id
        from ranked
        cross join lateral (
            select older.job_id
            from queue.blocked as older
            where older.key = ranked.key
                and older.replaces
                and older.job_id < ranked.job_id
            order by older.job_id
            for update skip locked
        ) as older
        where ranked.decision = 'blocked'
            and ranked.replaces
    ))
    returning job_id, seq, blocked_at, attempt, priority, failures, crashes, key, queue, kind
), closed as (
    select job_id, attempt, decision
    from ranked
    where decision <> 'blocked'
    union all
    select job_id, attempt, 'cancelled'
    from overtaken
), finished as (
    insert into queue.finished (job_id, attempt, outcome)
    select job_id, attempt, decision::queue.outcome
    from closed
), freed_by_claim as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from won where frees_key))
        and held_in & queue.state_claimed() = 0
), freed_by_end as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and held_in & queue.state_finished() = 0
), decided as (
    select job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track,
        case when is_whole then 'claimed' else 'partial' end as decision,
        coalesce(keys, '{}') as keys, null as key, null as waited_for
    from won
    union all
    select job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track,
        decision, null, key, waited_for
    from ranked
    union all
    select job_id, seq, blocked_at, attempt, priority, failures, crashes, queue, kind, 1::smallint,
        'replaced', null, key, null
    from overtaken
), ends as (
    select job_id, decision as became, 1 as by
    from closed
