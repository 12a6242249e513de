-- ready -> claimed, blocked or finished (discarded, cancelled): carries out what admit.rs has decided about
-- the jobs that claim_front.sql has locked. Does nothing if the process $8 is not registered any more.
--
-- $1 to $7 have an element for each limit of the jobs to claim: the job, the key, the number of the slot to
-- take and how long it is held at most, the place among the jobs of the key, and its rate. A job without
-- limits has one element without a key. $9 to $12 have an element for each job to park: the job, the key,
-- what it becomes, and whether a later job of the key replaces it.
--
-- A slot is a row whose number goes from 1 to the limit. Two claims that want the same number meet at
-- the primary key: the second waits until the first commits, and goes without. So no limit is exceeded,
-- although nothing is locked beforehand. A claim that got only some of its slots or starts is written
-- all the same, and returned as partial. The caller releases it at once; if the caller dies, recovery
-- removes the slots together with the claim.
--
-- Slots are taken in the order of keys and numbers, and then starts in the order of keys, so that no two
-- claims wait for each other.
with alive as (
    select exists (select from queue.processes where id = $8) as is_alive
), asked as materialized (
    select asked.*
    from unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::interval[], $5::integer[], $6::interval[],
        $7::integer[]
    ) as asked (job_id, key, number, hold, nth, space, burst)
    where (select is_alive from alive)
), grabbed as (
    -- A number that another claim took meanwhile is left to that claim.
    insert into queue.slots (key, number, job_id, expires_at)
    select key, number, job_id, statement_timestamp() + hold
    from asked
    where number is not null
    order by key, number
    on conflict (key, number) do nothing
    returning job_id, key
), rated as materialized (
    -- The time is read once the slots are taken, which may have had to wait for another claim.
    select key, count(*) as starts, min(space) as space, min(burst) as burst, clock_timestamp() as at
    from asked
    where space is not null
        and (select count(*) from grabbed) >= 0
    group by key
), metered as (
    -- What was read before may be stale, so the row says how many starts were granted. The time may be stale too,
    -- by as long as this waited for the rows of other keys: a start then counts as that much earlier. So a next
    -- start beyond what the burst allows is not taken for one of a slower rate if the rate is the same: other claims
    -- may have counted it meanwhile. Only one that is further away than this statement may take is that of a clock
    -- that was put back.
    insert into queue.rates as rate (key, next_at, space, burst, granted)
    select key, at + starts * space, space, burst, starts
    from rated
    order by key
    on conflict (key) do update
    set (next_at, space, burst, granted) = (
        select due.at + got.starts * excluded.space, excluded.space, excluded.burst, got.starts
        from (select excluded.next_at - excluded.granted * excluded.space as at) as now
        cross join lateral (
            select case
                when (rate.space, rate.burst) = (excluded.space, excluded.burst)
                        and rate.next_at < now.at + rate.burst * rate.space + interval '30 seconds'
                    then greatest(now.at, rate.next_at)
                else queue.next_start(rate.next_at, excluded.space, excluded.burst, now.at)
            end as at
        ) as due
        cross join lateral (
            select greatest(0, least(
                excluded.granted,
                queue.free_starts(due.at, excluded.space, excluded.burst, now.at)
            )) as starts
        ) as got
    )
    returning key, granted
), won as materialized (
    -- A job that got any slot is claimed, or its slot would belong to no claim.
    select job_id,
        array_agg(key) filter (where number is not null and has_slot) as keys,
        array_agg(number) filter (where number is not null and has_slot) as numbers,
        bool_and(has_slot and has_start) as is_whole
    from (
        select asked.*,
            number is null or (job_id, key) in (select job_id, key from grabbed) as has_slot,
            space is null or nth <= (
                select granted from metered where metered.key = asked.key
            ) as has_start
        from asked
    ) as checked
    group by job_id
    having bool_or(has_slot)
), taken as materialized (
    select ready.*, ready.attempt + 1 as next_attempt, won.keys, won.numbers, won.is_whole
    from won
    cross join lateral (
        select ctid as place, * from queue.ready where ready.job_id = won.job_id limit 1
    ) as ready
), parked as materialized (
    select ready.*, asked.key, asked.becomes, asked.replaces
    from unnest($9::bigint[], $10::text[], $11::text[], $12::boolean[])
        as asked (job_id, key, becomes, replaces)
    cross join lateral (
        select ctid as place, * from queue.ready where ready.job_id = asked.job_id limit 1
    ) as ready
    where (select is_alive from alive)
), moved as (
    delete from queue.ready
    where ctid = any (array(select place from taken union all select place from parked))
), claimed as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
    select job_id, seq, $8, next_attempt, failures, crashes, keys, numbers
    from taken
), blocked as (
    insert into queue.blocked
        (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
    select job_id, case when track = 2 then job_id else seq end, attempt, priority, failures, crashes,
        frees_key, replaces, key, queue, kind
    from parked
    where becomes = 'blocked'
), overtaken as (
    -- Blocked jobs that a newer one replaces.
    delete from queue.blocked
    where job_id = any (array(
        select older.job_id
        from parked
        cross join lateral (
            select older.job_id
            from queue.blocked as older
            where older.key = parked.key
                and older.replaces
                and older.job_id < parked.job_id
            order by older.job_id
            for update skip locked
        ) as older
        where parked.becomes = 'blocked'
            and parked.replaces
    ))
    returning job_id, seq, blocked_at, attempt, priority, failures, crashes, key, queue, kind
), closed as (
    select job_id, attempt, becomes
    from parked
    where becomes <> 'blocked'
    union all
    select job_id, attempt, 'cancelled'
    from overtaken
), finished as (
    insert into queue.finished (job_id, attempt, outcome)
    select job_id, attempt, becomes::queue.outcome
    from closed
), freed_by_claim as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from taken where frees_key))
        and held_in & queue.state_claimed() = 0
), freed_by_end as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from closed))
        and held_in & queue.state_finished() = 0
), decided as (
    select job_id, seq, ready_at, next_attempt as attempt, priority, failures, crashes, queue, kind, track,
        case when is_whole then 'claimed' else 'partial' end as decision,
        coalesce(keys, '{}') as keys, null as key, null as waited_for
    from taken
    union all
    select job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track,
        becomes, null, key, waited_for
    from parked
    union all
    select job_id, seq, blocked_at, attempt, priority, failures, crashes, queue, kind, 1::smallint,
        'replaced', null, key, null
    from overtaken
), ends as (
    select job_id, becomes as became, 1 as by
    from closed
