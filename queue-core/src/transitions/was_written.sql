-- Finds the runs whose end was written: what a write with a lost answer has done. Their attempt is
-- kept, or they stand where an end puts them, for the same number; unless they were recovered,
-- which keeps their attempt as a crash.
--
-- Each question is asked in turn, by primary key, and only if the one before found nothing.
select run.job_id
from unnest($1::bigint[], $2::integer[]) as run (job_id, attempt)
where coalesce(
    (
        select ending
        from queue.attempts
        where attempts.job_id = run.job_id and attempts.attempt = run.attempt
    ),
    (
        select 'finished'
        from queue.finished
        where finished.job_id = run.job_id and finished.attempt = run.attempt
    ),
    (
        select 'scheduled'
        from queue.scheduled
        where scheduled.job_id = run.job_id and scheduled.attempt = run.attempt
    ),
    (
        select 'ready'
        from queue.ready
        where ready.job_id = run.job_id and ready.attempt = run.attempt
    ),
    (
        select 'blocked'
        from queue.blocked
        where blocked.job_id = run.job_id and blocked.attempt = run.attempt
    ),
    'crash'
) <> 'crash'
