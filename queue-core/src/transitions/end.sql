-- claimed -> scheduled, ready, failed or finished (discarded, cancelled), as each run asks; scheduled
-- jobs are due after delay_ms. An error is kept as an attempt, and counts as a failure, except for that of
-- a step with tries left. A job that was asked to cancel meanwhile is cancelled instead, unless its run discards it. Fenced by process and
-- attempt: a run whose claim is gone is not in the answer. Continued by free.sql.
--
-- A released job keeps its place in line and the number of its attempt. The same process may claim it
-- again for another attempt, and a repeated statement (its first answer was lost) does not end that run.
--
-- Only cancel_requested_at can change between reading a claim and deleting it, so it is read again
-- by the delete.
with claim as materialized (
    select run.*, claimed.*, job.*
    from unnest(
        $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
        $9::text[], $11::text[]
    ) as run (job_id, attempt, ran_us, asked, delay_ms, ending, error, backtrace, event)
    cross join lateral (
        select seq, failures, crashes, keys, slots
        from queue.claimed
        where claimed.job_id = run.job_id
            and claimed.attempt = run.attempt
            and claimed.process_id = $1
        limit 1
    ) as claimed
    cross join lateral (
        select priority, queue, kind, limits is not null as limited,
            unique_key is not null as has_key, tenant
        from queue.jobs
        where jobs.id = run.job_id
        limit 1
    ) as job
), deleted as (
    delete from queue.claimed
    where job_id = any (array(select job_id from claim))
    returning job_id, cancel_requested_at is not null as is_cancelled
), ended as materialized (
    select claim.*, statement_timestamp() - ran_us * interval '1 microsecond' as started_at,
        case
            when asked <> 'discarded'
                and (job_id in (select job_id from deleted where is_cancelled)) is true
                then 'cancelled'
            else asked
        end as became
    from claim
    where (job_id in (select job_id from deleted)) is true
), logged as (
    insert into queue.attempts
        (job_id, attempt, started_at, ended_at, process, version, ending, error, backtrace)
    select job_id, attempt, started_at, statement_timestamp(), $10,
        (select version from queue.processes where id = $1 limit 1), ending, error, backtrace
    from ended
    where ending is not null
), postponed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, failures, crashes, queue, kind, limited)
    select job_id, statement_timestamp() + delay_ms * interval '1 millisecond', attempt, priority,
        failures + (coalesce(ending, 'step') <> 'step')::integer, crashes, queue, kind, limited
    from ended
    where became = 'scheduled'
), waiting as (
    insert into queue.waits (job_id, attempt, event)
    select job_id, attempt, event
    from ended
    where became = 'scheduled'
        and event is not null
    on conflict (job_id) do update
    set attempt = excluded.attempt, event = excluded.event
), placed as (
    insert into queue.ready
        (job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track,
        tenant)
    select job_id, seq, statement_timestamp(), attempt, priority, failures, crashes, queue, kind,
        queue.ready_track(limited, fair_tenant), fair_tenant
    from (
        select *, case
            when tenant is null then null
            when queue = any ((select queue.fair_queues())::text[]) then tenant
        end as fair_tenant
        from ended
        where became = 'ready'
    ) as released
    returning queue, track
), failed as (
    insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
    select job_id, statement_timestamp(), attempt, failures + 1, crashes, queue, kind
    from ended
    where became = 'failed'
), finished as (
    insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
    select job_id, started_at, statement_timestamp(), attempt, became::queue.outcome
    from ended
    where became in ('discarded', 'cancelled')
), notified as (
    select pg_notify('queue.wake', case when track in (1, 2, 4) then '@' || queue else queue end)
    from (select distinct queue, track from placed) as woken
    where exists (select from queue.idle_processes)
), answer as (
    select job_id, became, (select count(*) from notified)
    from ended
