-- Finds jobs by state ($1), queue ($2), kind ($3), tag ($4), age in ms ($5) and id ($6),
-- newest first, up to $8 with ids below $7; finished ones by outcome ($9), and all by a part of their
-- last error ($10), a part of their arguments ($11), tenant ($12) and batch ($13). Continued by a select of
-- their columns.
--
-- The states are read down their primary keys, merged, until the page is full, and each job is found by its
-- own key. The lateral is limited, so that the planner does not join whole tables instead.
with matching as (
    select narrow.*
    from (
        (
            select job_id, 'scheduled' as state, due_at as at, attempt, failures, null::text as outcome
            from queue.scheduled
            where 'scheduled' = any ($1)
            order by job_id desc
        )
        union all
        (
            select job_id, 'ready', ready_at, attempt, failures, null
            from queue.ready
            where 'ready' = any ($1)
            order by job_id desc
        )
        union all
        (
            select job_id, 'blocked', blocked_at, attempt, failures, null
            from queue.blocked
            where 'blocked' = any ($1)
            order by job_id desc
        )
        union all
        (
            select job_id, 'running', claimed_at, attempt, failures, null
            from queue.claimed
            where 'running' = any ($1)
            order by job_id desc
        )
        union all
        (
            select job_id, 'failed', failed_at, attempt, failures, null
            from queue.failed
            where 'failed' = any ($1)
            order by job_id desc
        )
        union all
        (
            select job_id, 'finished', finished_at, attempt, null, finished.outcome::text
            from queue.finished
            where 'finished' = any ($1)
                and ($9::text[] is null or finished.outcome::text = any ($9))
            order by job_id desc
        )
    ) as narrow
    cross join lateral (
        select
        from queue.jobs
        where jobs.id = narrow.job_id
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
            and ($13::bigint is null or jobs.batch_id = $13)
        limit 1
    ) as job
    where ($6::bigint[] is null or job_id = any ($6))
        and ($7::bigint is null or job_id < $7)
    order by job_id desc
    limit $8
)
