-- claimed -> finished (done), and blocked -> claimed: ends runs as finish.sql does, and hands the slot
-- of a run over to the next job that waits for it, without a way through ready. The slot stays where it
-- is, with another job's id. So while many jobs wait for one key, and an old snapshot keeps deleted
-- rows, the cost of each run does not grow: the line is read after the last job that was taken from
-- it ($7, $8), and the slot by its place ($9). Both are null for the first job of a series.
--
-- A slot is handed over only within a group: the next job has the same queue, kind and limits as the
-- last, one limit alone, without a rate, a hold, or a setting made at run time. Everything else is
-- left to unblock.sql and the claim, which choose among groups, priorities and queues. The caller
-- ends each series after a short time, so that these are asked often.
--
-- Locks rows of blocked with skip locked. A process that has been declared dead claims nothing.
-- Continued by claimed_jobs.sql, and then by free.sql, for the slots that were not handed over.
with stopped as (
    delete from queue.claimed
    where job_id = any ($2)
        and process_id = $1
        and ((job_id, attempt) in (select * from unnest($2::bigint[], $3::integer[]))) is true
    returning job_id, attempt, keys, slots
), finished as (
    insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
    select job_id, statement_timestamp() - ran_us * interval '1 microsecond',
        statement_timestamp(), attempt, 'done'
    from unnest($2, $3, $4::bigint[]) as run (job_id, attempt, ran_us)
    where ((job_id, attempt) in (select job_id, attempt from stopped)) is true
), offered as materialized (
    -- The slots that may be handed over, numbered within each group.
    select stopped.job_id, stopped.keys[1] as key, stopped.slots[1] as number, job.queue, job.kind,
        job.limits, run.priority, run.seq, slot.place,
        row_number() over (partition by stopped.keys[1], job.queue, job.kind, job.limits) as nth
    from unnest($6::bigint[], $7::smallint[], $8::bigint[], $9::text[])
        as run (job_id, priority, seq, place)
    join stopped on stopped.job_id = run.job_id
    cross join lateral (
        select queue, kind, limits from queue.jobs where id = run.job_id limit 1
    ) as job
    cross join lateral (
        select max(name) as name
        from jsonb_to_recordset(job.limits) as brought (name text, space text, hold text)
        having count(*) = 1
            and count(space) = 0
            and count(hold) = 0
    ) as brought
    cross join lateral (
        select ctid as place
        from queue.slots
        where run.place is null
            and slots.key = stopped.keys[1]
            and slots.number = stopped.slots[1]
            and slots.job_id = run.job_id
        union all
        select ctid
        from queue.slots
        where ctid = run.place::tid
            and slots.key = stopped.keys[1]
            and slots.number = stopped.slots[1]
            and slots.job_id = run.job_id
        limit 1
    ) as slot
    where cardinality(stopped.keys) = 1
        and exists (select from queue.processes where id = $1)
        -- One that was unblocked a moment ago comes first.
        and (
            select count(*)
            from queue.ready
            where waited_for = stopped.keys[1]
                and ready.queue = job.queue
                and ready.kind = job.kind
        ) = 0
        and job.queue <> all (array(select name from queue.queues where paused_at is not null))
        and (
            select count(*)
            from queue.limits
            where limits.name = any (array[
                '@queue/' || job.queue, '@kind/' || job.kind, stopped.keys[1], brought.name
            ])
        ) = 0
), heir as materialized (
    select line.key, line.queue, line.kind, line.limits, next.*,
        row_number() over (
            partition by line.key, line.queue, line.kind, line.limits
            order by next.priority, next.seq
        ) as nth
    from (
        select key, queue, kind, limits, count(*) as slots,
            coalesce(min(priority), -32768) as priority, coalesce(min(seq), 0) as seq
        from offered
        group by key, queue, kind, limits
    ) as line
    cross join lateral (
        select ctid as place, job_id, seq, attempt, priority, failures, crashes, frees_key
        from queue.blocked
        where blocked.key = line.key
            and blocked.queue = line.queue
            and blocked.kind = line.kind
            and (blocked.priority, blocked.seq) > (line.priority, line.seq)
        order by blocked.priority, blocked.seq
        limit line.slots
        for update skip locked
    ) as next
    cross join lateral (
        select limits, tenant from queue.jobs where jobs.id = next.job_id limit 1
    ) as job
    where job.limits = line.limits
        and (
            job.tenant is null
            or (select paused_at from queue.tenants where name = job.tenant limit 1) is null
        )
        and not next.frees_key
), handed as materialized (
    select offered.job_id as before, offered.number, offered.place as slot, heir.*
    from offered
    join heir using (key, queue, kind, limits, nth)
), moved as (
    update queue.slots
    set job_id = (
        select handed.job_id
        from handed
        where handed.key = slots.key
            and handed.number = slots.number
    )
    where ctid = any (array(select slot from handed))
    returning job_id, ctid
), taken as (
    delete from queue.blocked
    where ctid = any (array(select place from handed))
), claimed as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
    select job_id, seq, $1, attempt + 1, failures, crashes, array[key], array[number]
    from handed
), ended as (
    select stopped.job_id, case when handed.before is null then stopped.keys end as keys,
        case when handed.before is null then stopped.slots end as slots, 'done' as became,
        stopped.job_id = any ($5::bigint[]) as has_key
    from stopped
    left join handed on handed.before = stopped.job_id
), decided as (
    select handed.before, moved.ctid::text as slot, handed.job_id, handed.seq,
        statement_timestamp() as ready_at, attempt + 1 as attempt, priority, failures, crashes, queue,
        kind, 2::smallint as track, 'claimed' as decision, array[key] as keys
    from handed
    join moved on moved.job_id = handed.job_id
    union all
    select job_id, null, null, null, null, null, null, null, null, null, null, null, 'ended', null
    from ended
), answer as (
