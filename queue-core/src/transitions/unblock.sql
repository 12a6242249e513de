-- blocked -> ready (track 2), as many jobs of each key in $1 as it has room for, the most urgent first.
-- The claim decides whether they start.
--
-- Jobs blocked by a key form a group for each queue and kind. Of each group, jobs that were unblocked
-- before and are still ready count against the room, except for those of a tenant that is paused. So a job
-- whose queue is paused, or whose kind no process runs, waits in ready and delays no other group.
--
-- The line of each group is read from its head, which was found before. Otherwise the dead index
-- entries of jobs that were unblocked before would be read a second time.
--
-- Slots that have expired count as free, and are removed, if the key has blocked jobs.
--
-- Returns how many jobs were moved, and the keys with a rate and blocked jobs, with the milliseconds
-- until the next start after those that are free now. Locks rows of blocked with skip locked.
with waiting as (
    select asked.key, waiting.queue, waiting.kind, waiting.head, waiting.priority, waiting.seq
    from unnest($1::text[]) as asked (key)
    cross join lateral (
        with recursive waiting as (
            (
                select queue, kind, job_id as head, priority, seq
                from queue.blocked
                where key = asked.key
                order by queue, kind, priority, seq
                limit 1
            )
            union all
            select next.queue, next.kind, next.head, next.priority, next.seq
            from waiting
            cross join lateral (
                select blocked.queue, blocked.kind, blocked.job_id as head, blocked.priority,
                    blocked.seq
                from queue.blocked
                where blocked.key = asked.key
                    and (blocked.queue, blocked.kind) > (waiting.queue, waiting.kind)
                order by blocked.queue, blocked.kind, blocked.priority, blocked.seq
                limit 1
            ) as next
        )
        select queue, kind, head, priority, seq from waiting
    ) as waiting
    where waiting.queue <> all (array(select name from queue.queues where paused_at is not null))
), room as (
    select waiting.*, slots.expired, greatest(0, least($2, slots.free, starts.free)) as free,
        case when starts.free <= coalesce(slots.free, $2)
            then start.at - rate.now + (starts.free - rate.burst + 1) * rate.space
        end as next_start_in
    from waiting
    cross join lateral (select limits from queue.jobs where jobs.id = waiting.head limit 1) as job
    left join lateral (
        select name, slots, space, burst
        from jsonb_to_recordset(job.limits) as brought (
            key text, name text, slots integer, space interval, burst integer
        )
        where brought.key = waiting.key
        limit 1
    ) as own on true
    left join lateral (
        select slots, space, burst from queue.limits where limits.name = waiting.key limit 1
    ) as of_key on true
    left join lateral (
        select slots, space, burst from queue.limits where limits.name = own.name limit 1
    ) as of_group on true
    cross join lateral (
        select coalesce(of_key.slots, of_group.slots, own.slots)
                - count(*) filter (where (expires_at <= statement_timestamp()) is not true) as free,
            array_agg(ctid) filter (where expires_at <= statement_timestamp()) as expired
        from queue.slots
        where slots.key = waiting.key
    ) as slots
    cross join lateral (
        select coalesce(of_key.space, of_group.space, own.space) as space,
            coalesce(of_key.burst, of_group.burst, own.burst) as burst,
            clock_timestamp() as now
    ) as rate
    cross join lateral (
        select queue.next_start((
            select next_at from queue.rates where rates.key = waiting.key
        ), rate.space, rate.burst, rate.now) as at
    ) as start
    cross join lateral (
        select queue.free_starts(start.at, rate.space, rate.burst, rate.now) as free
    ) as starts
), expired as (
    delete from queue.slots
    where ctid = any (array(
        select ctid
        from queue.slots
        where ctid = any (array(select unnest(expired) from room))
        for update skip locked
    ))
), candidate as (
    select room.key, room.free, next.*
    from room
    cross join lateral (
        select count(*) as jobs
        from queue.ready
        where waited_for = room.key
            and ready.queue = room.queue
            and ready.kind = room.kind
            and (
                ready.tenant is null
                or (select paused_at from queue.tenants where name = ready.tenant limit 1) is null
            )
    ) as moved
    cross join lateral (
        select blocked.ctid as place, blocked.priority, blocked.seq
        from queue.blocked
        where blocked.key = room.key
            and blocked.queue = room.queue
            and blocked.kind = room.kind
            and (blocked.priority, blocked.seq) >= (room.priority, room.seq)
        order by blocked.priority, blocked.seq
        limit greatest(0, room.free - moved.jobs)
        for update skip locked
    ) as next
), chosen as (
    select place
    from (
        select place, free, row_number() over (partition by key order by priority, seq) as rank
        from candidate
    ) as candidate
    where rank <= free
), freed as (
    delete from queue.blocked
    where ctid = any (array(select place from chosen))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track, waited_for,
        tenant)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, 2, key, case when queue = any ((select queue.fair_queues())::text[]) then (
            select tenant from queue.jobs where jobs.id = freed.job_id limit 1
        ) end
    from (select * from freed order by priority, seq) as freed
)
select (select count(*) from freed) as unblocked,
    coalesce(array_agg(key), '{}') as keys,
    coalesce(array_agg(next_start_ms), '{}') as next_starts_ms,
    (
        select count(*)
        from (
            select pg_notify('queue.wake', '@' || queue)
            from (select distinct queue from freed) as woken
            where exists (select from queue.idle_processes)
        ) as notified
    )
from (
    select key, min(ceil(extract(epoch from next_start_in) * 1000))::bigint as next_start_ms
    from room
    where next_start_in is not null
    group by key
) as metered
