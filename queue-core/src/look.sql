-- Returns what there is to do: the lanes with ready jobs, in how many milliseconds the next scheduled job
-- and the next recurring job are due, whether a job is blocked, and
-- whether an event is open. Looks for scheduled jobs after the
-- place ($5, $6). Kinds of recurring jobs that are not in $7 are due five seconds later, as in
-- lock_due.sql. Continued by lanes.sql, which reads $1 to $4.
select coalesce(array_agg(queue), '{}') as queues,
    coalesce(array_agg(priority), '{}') as priorities,
    coalesce(array_agg(track), '{}') as tracks,
    coalesce(array_agg(has_jobs), '{}') as have_jobs,
    coalesce(array_agg(is_gated), '{}') as are_gated,
    (
        select ceil(extract(epoch from due_at - clock_timestamp()) * 1000)::bigint
        from queue.scheduled
        where (due_at, job_id) > (coalesce($5::timestamptz, '-infinity'), $6)
        order by due_at, job_id
        limit 1
    ) as scheduled_in,
    ceil(extract(epoch from least(
        (
            select next_at
            from queue.recurring_jobs
            where paused_at is null
                and next_at is not null
                and ($7::text[] is null or kind = any ($7))
            order by next_at
            limit 1
        ),
        (
            select next_at + interval '5 s'
            from queue.recurring_jobs
            where paused_at is null
                and next_at is not null
                and kind <> all ($7::text[])
            order by next_at
            limit 1
        )
    ) - clock_timestamp()) * 1000)::bigint as recurring_in,
    (
        select true
        from queue.blocked
        order by key
        limit 1
    ) is not null as has_blocked,
    (
        select true
        from queue.events
        where is_open
        order by name
        limit 1
    ) is not null as has_open_events
