-- Returns what there is to do: the lanes with ready jobs, in how many milliseconds the next scheduled job
-- and the next recurring job are due, and whether a job is blocked. Kinds of recurring jobs that are not in
-- $1 are due five seconds later, as in lock_due.sql. Continued by lanes.sql.
select coalesce(array_agg(queue), '{}') as queues,
    coalesce(array_agg(priority), '{}') as priorities,
    coalesce(array_agg(track), '{}') as tracks,
    coalesce(array_agg(is_gated), '{}') as are_gated,
    (
        select ceil(extract(epoch from due_at - clock_timestamp()) * 1000)::bigint
        from queue.scheduled
        order by due_at
        limit 1
    ) as scheduled_in,
    ceil(extract(epoch from least(
        (
            select next_at
            from queue.recurring_jobs
            where paused_at is null
                and next_at is not null
                and ($1::text[] is null or kind = any ($1))
            order by next_at
            limit 1
        ),
        (
            select next_at + interval '5 s'
            from queue.recurring_jobs
            where paused_at is null
                and next_at is not null
                and kind <> all ($1::text[])
            order by next_at
            limit 1
        )
    ) - clock_timestamp()) * 1000)::bigint as recurring_in,
    (
        select true
        from queue.blocked
        order by key
        limit 1
    ) is not null as has_blocked
