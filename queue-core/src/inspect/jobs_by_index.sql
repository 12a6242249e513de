-- Finds the jobs of the tenant $12 or the batch $13, with the same parameters as jobs_matching.sql: its jobs
-- are read by index, newest first, and each is looked up in the tables of states.
with matching as (
    select job_id, state, at, attempt, failures, outcome
    from queue.jobs
    cross join lateral (
        select job_id, 'scheduled' as state, due_at as at, attempt, failures, null::text as outcome
        from queue.scheduled
        where scheduled.job_id = jobs.id
        union all
        select job_id, 'ready', ready_at, attempt, failures, null
        from queue.ready
        where ready.job_id = jobs.id
        union all
        select job_id, 'blocked', blocked_at, attempt, failures, null
        from queue.blocked
        where blocked.job_id = jobs.id
        union all
        select job_id, 'running', claimed_at, attempt, failures, null
        from queue.claimed
        where claimed.job_id = jobs.id
        union all
        select job_id, 'failed', failed_at, attempt, failures, null
        from queue.failed
        where failed.job_id = jobs.id
        union all
        select job_id, 'finished', finished_at, attempt, null, finished.outcome::text
        from queue.finished
        where finished.job_id = jobs.id
            and ($2::text[] is null or finished.outcome::text = any ($2))
        limit 1
    ) as narrow
    where ($12::text is null or jobs.tenant = $12)
        and ($13::bigint is null or jobs.batch_id = $13)
        and state = any ($1)
        and ($5::text is null or jobs.queue = $5)
        and ($6::text is null or jobs.kind = $6)
        and ($7::text is null or $7 = any (jobs.tags))
        and ($8::bigint is null
            or jobs.created_at < statement_timestamp() - $8 * interval '1 millisecond')
        and ($9::bigint[] is null or jobs.id = any ($9))
        and ($3::bigint is null or jobs.id < $3)
        and ($14::bigint is null or jobs.id >= $14)
        and ($10::text is null or strpos(lower((
            select attempts.error
            from queue.attempts
            where attempts.job_id = jobs.id
            order by attempts.attempt desc
            limit 1
        )), lower($10)) > 0)
        and ($11::jsonb is null or jobs.args @> $11)
    order by jobs.id desc
    limit $4
)
