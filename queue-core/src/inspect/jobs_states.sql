-- The rows of jobs in the states $1, finished ones with the outcomes $2, in the order of ids. Stands between
-- the beginning of a statement and its end.
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
                and ($2::text[] is null or finished.outcome = any ($2::text[]::queue.outcome[]))
            order by job_id desc
        )
