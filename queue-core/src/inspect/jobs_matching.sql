-- Finds jobs by state ($1), queue ($2), kind ($3), tag ($4), age in ms ($5) and id ($6),
-- newest first, up to $8 with ids below $7; finished ones by outcome ($9), and all by a part of their
-- last error ($10), a part of their arguments ($11) and tenant ($12). Continued by a select of their
-- columns.
--
-- Each state is read down its primary key until the page is full, and each job is found by its own
-- key. The laterals are limited, so that the planner does not join whole tables instead.
with matching as (
    (
        select job_id, 'scheduled' as state, due_at as at, attempt, failures,
            null::text as outcome
        from queue.scheduled
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'scheduled' = any ($1)
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    union all
    (
        select job_id, 'ready' as state, ready_at as at, attempt, failures,
            null::text as outcome
        from queue.ready
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'ready' = any ($1)
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    union all
    (
        select job_id, 'blocked' as state, blocked_at as at, attempt, failures,
            null::text as outcome
        from queue.blocked
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'blocked' = any ($1)
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    union all
    (
        select job_id, 'running' as state, claimed_at as at, attempt, failures,
            null::text as outcome
        from queue.claimed
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'running' = any ($1)
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    union all
    (
        select job_id, 'failed' as state, failed_at as at, attempt, failures,
            null::text as outcome
        from queue.failed
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'failed' = any ($1)
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    union all
    (
        select job_id, 'finished' as state, finished_at as at, attempt,
            null::smallint as failures, outcome::text as outcome
        from queue.finished
        cross join lateral (
            select
            from queue.jobs
            where jobs.id = job_id
                and ($2::text is null or jobs.queue = $2)
                and ($3::text is null or jobs.kind = $3)
                and ($4::text is null or $4 = any (jobs.tags))
                and ($5::bigint is null
                    or jobs.created_at < statement_timestamp() - $5 * interval '1 millisecond')
                and ($10::text is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11::jsonb is null or jobs.args @> $11)
                and ($12::text is null or jobs.tenant = $12)
            limit 1
        ) as job
        where 'finished' = any ($1)
            and ($9::text[] is null or finished.outcome::text = any ($9))
            and ($6::bigint[] is null or job_id = any ($6))
            and ($7::bigint is null or job_id < $7)
        order by job_id desc
        limit $8
    )
    order by job_id desc
    limit $8
)
