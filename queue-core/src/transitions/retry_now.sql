-- failed -> ready, or scheduled for another attempt -> ready, with its failures and crashes set to zero.
-- A job whose unique key has been taken meanwhile stays where it is. A job whose period of uniqueness
-- is over needs no key. Continued by count.sql.
with was_failed as (
    select job_id, unique_key, unique_states, unique_until,
        unique_key is not null
            and unique_states & queue.state_failed() = 0
            and unique_states & queue.state_claimed() <> 0
            and coalesce(unique_until > statement_timestamp(), true) as needs_key
    from queue.failed
    cross join lateral (
        select unique_key, unique_states, unique_until
        from queue.jobs
        where jobs.id = failed.job_id
        limit 1
    ) as job
    where failed.job_id = any ($1)
    order by failed.job_id
    for update of failed skip locked
), keyed as (
    insert into queue.unique_keys (key, job_id, held_until, held_in)
    select distinct on (unique_key) unique_key, job_id, unique_until, unique_states
    from was_failed
    where needs_key
    order by unique_key, job_id
    on conflict (key) do nothing
    returning job_id
), retried_failed as (
    delete from queue.failed
    where job_id = any (array(
        select job_id
        from was_failed
        where not needs_key
            or job_id in (select job_id from keyed)
    ))
    returning job_id, attempt, queue, kind
), retried_scheduled as (
    delete from queue.scheduled
    where job_id = any (array(
        select job_id from queue.scheduled
        where job_id = any ($1) and attempt > 0 order by job_id for update skip locked
    ))
    returning job_id, attempt, queue, kind
), retried as (
    select * from retried_failed
    union all
    select * from retried_scheduled
), placed as (
    insert into queue.ready (job_id, seq, attempt, priority, queue, kind, track, tenant)
    select job_id, nextval('queue.job_seq'), attempt, priority, queue, kind,
        queue.ready_track(limited, fair_tenant), fair_tenant
    from retried
    cross join lateral (
        select priority, limits is not null as limited, case
            when tenant is null then null
            when retried.queue = any ((select queue.fair_queues())::text[]) then tenant
        end as fair_tenant
        from queue.jobs
        where jobs.id = retried.job_id
        limit 1
    ) as job
    order by job_id
    returning queue, track
), answer as (
    select job_id, (
        select count(*)
        from (
            select pg_notify('queue.wake', case when track in (1, 2, 4) then '@' || queue else queue end)
            from (select distinct queue, track from placed) as woken
            where exists (select from queue.idle_processes)
        ) as notified
    )
    from retried
), ends as (
    -- A failed job has been counted, and is no longer ended.
    select job_id, 'failed' as became, -1 as by
    from retried_failed
