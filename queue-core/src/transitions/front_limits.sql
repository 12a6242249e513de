-- The limits of the jobs in `front`, and what is left of their keys, as the head of claim_front.sql says.
), gate as (
    select front.*, own.key, own.conflict, own.hold,
        coalesce(of_key.slots, of_group.slots, own.slots) as slots,
        coalesce(of_key.space, of_group.space, own.space) as space,
        coalesce(of_key.burst, of_group.burst, own.burst) as burst,
        row_number() over (partition by own.key order by front.position, front.seq) as rank,
        (count(*) over (partition by own.key))::integer as asked,
        max(coalesce(of_key.slots, of_group.slots, own.slots)) over (partition by own.key) as slots_max,
        front.track <> 2 and (
            exists (
                select
                from queue.blocked
                where blocked.key = own.key
                    and blocked.queue = front.queue
                    and blocked.kind = front.kind
                    and (blocked.priority, blocked.seq) < (front.priority, front.seq)
            )
            or (coalesce(of_key.slots, of_group.slots, own.slots, 0) = 1 and exists (
                select
                from queue.ready
                where ready.waited_for = own.key
                    and ready.queue = front.queue
                    and ready.kind = front.kind
                    and ready.priority <= front.priority
            ))
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
        where name in ('@queue/' || front.queue, '@tenant/' || front.tenant, case
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
)
select gate.job_id, gate.attempt, gate.key, gate.conflict, gate.hold, gate.slots, gate.space, gate.burst,
    gate.is_behind, gate.rank = 1 as is_first, held.used, held.top, spare.numbers, start.free as free_starts,
    held.expires_at <= statement_timestamp() as is_expired
from gate
cross join lateral (
    select count(*)::integer as used, coalesce(max(number), 0) as top, min(expires_at) as expires_at
    from queue.slots
    where slots.key = gate.key
        and gate.rank = 1
) as held
cross join lateral (
    select case when held.top > held.used then array(
        select free.number
        from generate_series(1, least(held.used + gate.asked, gate.slots_max)) as free (number)
        where not exists (
            select from queue.slots where slots.key = gate.key and slots.number = free.number
        )
        order by free.number
        limit gate.asked
    ) end as numbers
) as spare
left join lateral (
    select queue.free_starts(
        queue.next_start(rate.next_at, gate.space, gate.burst, now.at), gate.space, gate.burst, now.at
    ) as free
    from (select clock_timestamp() as at) as now
    left join lateral (
        select next_at from queue.rates where rates.key = gate.key limit 1
    ) as rate on true
    where gate.rank = 1
        and gate.space is not null
) as start on true
order by gate.position, gate.seq, gate.key
