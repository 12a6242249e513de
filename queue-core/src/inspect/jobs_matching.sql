-- Finds jobs of jobs_states.sql: newest first, up to $4 with ids below $3 and from $14 on, by queue ($5), kind
-- ($6), tag ($7), age in ms ($8), id ($9), a part of their last error ($10) and of their arguments ($11), tenant
-- ($12) and batch ($13). Continued by a select of their columns.
--
-- The states are read down their primary keys, merged, until the page is full, and each job is found by its
-- own key, unless only states are asked for. The subquery is limited, so that the planner does not read
-- whole tables instead.
    ) as narrow
    where (
        ($5::text is null and $6::text is null and $7::text is null and $8::bigint is null and $10::text is null
            and $11::jsonb is null and $12::text is null and $13::bigint is null)
        or (
            select true
            from queue.jobs
            where jobs.id = narrow.job_id
                and ($5 is null or jobs.queue = $5)
                and ($6 is null or jobs.kind = $6)
                and ($7 is null or $7 = any (jobs.tags))
                and ($8 is null or jobs.created_at < statement_timestamp() - $8 * interval '1 millisecond')
                and ($10 is null or strpos(lower((
                    select attempts.error
                    from queue.attempts
                    where attempts.job_id = jobs.id
                    order by attempts.attempt desc
                    limit 1
                )), lower($10)) > 0)
                and ($11 is null or jobs.args @> $11)
                and ($12 is null or jobs.tenant = $12)
                and ($13 is null or jobs.batch_id = $13)
            limit 1
        )
    )
        and ($9::bigint[] is null or job_id = any ($9))
        and ($3::bigint is null or job_id < $3)
        and ($14::bigint is null or job_id >= $14)
    order by job_id desc
    limit $4
)
