-- blocked → ready (track 2), as many jobs of each key named as it has room for, the most urgent
-- first. Whether they may start is decided when they are claimed.
--
-- Those who wait for a key are looked at by queue and kind. Of each such crowd no more are moved than
-- there is room for beyond those that were moved before and have not been claimed yet: one whose
-- queue is paused, or whose kind nobody runs any more, waits in ready without standing in the way of
-- the others.
--
-- Slots that have been held for longer than their limit lets them be count as free, and are removed,
-- if there is a crowd.
--
-- Answers how many were moved, and which keys have a rate and jobs that wait for it, with the
-- milliseconds until their next start, once those they have are used up. Locks rows of blocked with
-- skip locked.
with crowd as (
    select asked.key, crowd.queue, crowd.kind, crowd.head
    from unnest($1::text[]) as asked (key)
    cross join lateral (
        with recursive crowd as (
            (
                select queue, kind, job_id as head
                from queue.blocked
                where key = asked.key
                order by queue, kind, priority, seq
                limit 1
            )
            union all
            select next.queue, next.kind, next.head
            from crowd
            cross join lateral (
                select blocked.queue, blocked.kind, blocked.job_id as head
                from queue.blocked
                where blocked.key = asked.key
                    and (blocked.queue, blocked.kind) > (crowd.queue, crowd.kind)
                order by blocked.queue, blocked.kind, blocked.priority, blocked.seq
                limit 1
            ) as next
        )
        select queue, kind, head from crowd
    ) as crowd
    where crowd.queue <> all (array(select name from queue.queues where paused_at is not null))
), room as (
    select crowd.*, slots.expired, greatest(0, least($2, slots.free, starts.free)) as free,
        case when starts.free <= coalesce(slots.free, $2)
            then meter.next_in + (starts.free - meter.burst + 1) * meter.space
        end as next_start_in
    from crowd
    cross join lateral (select limits from queue.jobs where jobs.id = crowd.head limit 1) as job
    left join lateral (
        select name, slots, space, burst
        from jsonb_to_recordset(job.limits) as brought (
            key text, name text, slots integer, space interval, burst integer
        )
        where brought.key = crowd.key
        limit 1
    ) as own on true
    left join lateral (
        select slots, space, burst from queue.limits where limits.name = crowd.key limit 1
    ) as of_key on true
    left join lateral (
        select slots, space, burst from queue.limits where limits.name = own.name limit 1
    ) as of_group on true
    cross join lateral (
        select coalesce(of_key.slots, of_group.slots, own.slots)
                - count(*) filter (where (expires_at <= statement_timestamp()) is not true) as free,
            array_agg(ctid) filter (where expires_at <= statement_timestamp()) as expired
        from queue.slots
        where slots.key = crowd.key
    ) as slots
    cross join lateral (
        select coalesce(of_key.space, of_group.space, own.space) as space,
            coalesce(of_key.burst, of_group.burst, own.burst) as burst
    ) as rate
    cross join lateral (
        select rate.space, rate.burst, coalesce((
            select case
                when next_at > now.at + rate.burst * rate.space + interval '1 second'
                    then interval '0'
                else greatest(interval '0', next_at - now.at)
            end
            from queue.rates
            cross join (select clock_timestamp() as at) as now
            where rates.key = crowd.key
        ), interval '0') as next_in
    ) as meter
    cross join lateral (
        select case when meter.space is not null then
            meter.burst - ceil(extract(epoch from meter.next_in) / extract(epoch from meter.space))
        end::integer as free
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
    ) as moved
    cross join lateral (
        select blocked.ctid as place, priority, seq
        from queue.blocked
        where blocked.key = room.key
            and blocked.queue = room.queue
            and blocked.kind = room.kind
        order by priority, seq
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
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track, waited_for)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, 2, key
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
