-- claimed → scheduled, ready, failed or finished (discarded, cancelled): each job goes where its
-- run asks, scheduled ones for delay_ms. An error is kept as an attempt, and counts as a failure. A job
-- that was asked to stop meanwhile is cancelled instead, unless its run discards it. Fenced by
-- process and attempt: a claim that is gone is missing from the answer. Continued by free.sql.
--
-- A job that is given back keeps its place in line, and the number of its attempt: the same process
-- may claim the job again, and an end that is repeated because its answer was lost must not end
-- that run.
--
-- Only cancel_requested_at can change between reading a claim and deleting it, so it is read again
-- by the delete.
with met as materialized (
    select run.*, held.*, job.*
    from unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
        $9::text[]
    ) as run (job_id, attempt, ran_us, asked, delay_ms, ending, error, backtrace)
    cross join lateral (
        select seq, failures, crashes, keys, slots
        from queue.claimed
        where claimed.job_id = run.job_id
            and claimed.attempt = run.attempt
            and claimed.process_id = $1
        limit 1
    ) as held
    cross join lateral (
        select priority, queue, kind, limits is not null as limited,
            unique_key is not null as has_key
        from queue.jobs
        where jobs.id = run.job_id
        limit 1
    ) as job
), gone as (
    delete from queue.claimed
    where job_id = any (array(select job_id from met))
    returning job_id, cancel_requested_at is not null as is_cancelled
), closed as materialized (
    select met.*, statement_timestamp() - ran_us * interval '1 microsecond' as started_at,
        case
            when asked <> 'discarded'
                and (job_id in (select job_id from gone where is_cancelled)) is true
                then 'cancelled'
            else asked
        end as became
    from met
    where (job_id in (select job_id from gone)) is true
), logged as (
    insert into queue.attempts
        (job_id, attempt, started_at, ended_at, process, ending, error, backtrace)
    select job_id, attempt, started_at, statement_timestamp(), $10, ending, error, backtrace
    from closed
    where ending is not null
), postponed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, failures, crashes, queue, kind, limited)
    select job_id, statement_timestamp() + delay_ms * interval '1 millisecond', attempt, priority,
        failures + (ending is not null)::integer, crashes, queue, kind, limited
    from closed
    where became = 'scheduled'
), placed as (
    insert into queue.ready
        (job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track)
    select job_id, seq, statement_timestamp(), attempt, priority, failures, crashes, queue, kind,
        limited::integer
    from closed
    where became = 'ready'
    returning queue, track
), failed as (
    insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
    select job_id, statement_timestamp(), attempt, failures + 1, crashes, queue, kind
    from closed
    where became = 'failed'
), finished as (
    insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
    select job_id, started_at, statement_timestamp(), attempt, became::queue.outcome
    from closed
    where became in ('discarded', 'cancelled')
), notified as (
    select pg_notify('queue.wake', case when track > 0 then '@' || queue else queue end)
    from (select distinct queue, track from placed) as woken
    where exists (select from queue.idle_processes)
), answer as (
    select job_id, became, (select count(*) from notified)
    from closed
