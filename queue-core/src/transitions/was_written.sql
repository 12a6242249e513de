-- Finds the runs whose outcome was recorded, and what their jobs became: by a statement whose answer was
-- lost, or by the job in a transaction of its own. The job is where the outcome put it, with the same
-- attempt, or its attempt is kept and the job has run again since. A recovered job keeps its attempt as
-- a crash.
--
-- Each table is read by primary key, and only if those before have no row.
with recorded as materialized (
    select run.job_id, coalesce(
        (
            select 'crash'
            from queue.attempts
            where attempts.job_id = run.job_id
                and attempts.attempt = run.attempt
                and ending = 'crash'
        ),
        (
            select outcome::text
            from queue.finished
            where finished.job_id = run.job_id and finished.attempt = run.attempt
        ),
        (
            select 'failed'
            from queue.failed
            where failed.job_id = run.job_id and failed.attempt = run.attempt
        ),
        (
            select 'ready'
            from queue.ready
            where ready.job_id = run.job_id and ready.attempt = run.attempt
        ),
        (
            select 'ready'
            from queue.blocked
            where blocked.job_id = run.job_id and blocked.attempt = run.attempt
        ),
        (
            select 'scheduled'
            from queue.scheduled
            where scheduled.job_id = run.job_id and scheduled.attempt = run.attempt
        ),
        (
            select 'scheduled'
            from queue.attempts
            where attempts.job_id = run.job_id and attempts.attempt = run.attempt
        )
    ) as became
    from unnest($1::bigint[], $2::integer[]) as run (job_id, attempt)
)
select job_id, became
from recorded
where became <> 'crash'
