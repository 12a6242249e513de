-- claimed -> ready, scheduled, failed or finished (cancelled), for up to $3 jobs of dead processes: those
-- whose last heartbeat is older than $1 ms, and those without a row. Removes the rows of dead processes
-- too. Finding jobs of processes without a row reads the whole table, so it is done only if $2 is true.
--
-- A job that kills its process is recovered together with all other jobs of the process. If they were
-- claimed together again, all would be charged with its next crash. So they get new places in line, and
-- from the second crash on random due times.
--
-- If alerts are in use, there is one about each dead process.
--
-- A crash is counted and kept as an attempt. A job fails at crashes_max crashes. Skips locked claims:
-- another process is recovering them, or a late finish is ending them. Continued by free.sql.
with dead as (
    delete from queue.processes
    where id = any (array(
        select id
        from queue.processes
        where heartbeat_at < statement_timestamp() - $1 * interval '1 millisecond'
        for update skip locked
    ))
    returning id, name, version
), alerted as (
    insert into queue.alerts as alerts (kind, subject, text)
    select distinct on (name) 'dead_process', name, 'the process `' || name || '` died'
    from dead
    where exists (
        select from queue.alert_turn where until > statement_timestamp() - interval '1 day'
    )
    order by name
    on conflict (kind, subject) do update
    set begun_at = excluded.begun_at, told_at = null
), idle as (
    delete from queue.idle_processes
    where process_id in (select id from dead)
        or not exists (select from queue.processes where processes.id = process_id)
), polling as (
    delete from queue.pollers
    where process_id in (select id from dead)
        or not exists (select from queue.processes where processes.id = process_id)
), orphaned as (
    delete from queue.claimed
    where ctid = any (array(
        select claimed.ctid
        from queue.claimed
        where ($2 or exists (select from dead))
            and (
                process_id in (select id from dead)
                or not exists (select from queue.processes where processes.id = process_id)
            )
        limit $3
        for update skip locked
    ))
    returning *
), ended as materialized (
    select orphaned.*, job.*,
        coalesce((select name from dead where id = process_id), process_id::text) as process,
        statement_timestamp() + random() * interval '10 seconds' as due_at,
        case
            when cancel_requested_at is not null then 'cancelled'
            when crashes + 1 >= crashes_max then 'failed'
            when crashes > 0 then 'scheduled'
            else 'ready'
        end as became
    from orphaned
    cross join lateral (
        select priority, queue, kind, tenant, limits is not null as limited, crashes_max,
            unique_key is not null as has_key
        from queue.jobs
        where jobs.id = orphaned.job_id
        limit 1
    ) as job
), charged as (
    select *, 'process ' || process || ' died while it held this job' as error
    from ended
), logged as (
    insert into queue.attempts
        (job_id, attempt, started_at, ended_at, process, version, ending, error)
    select job_id, attempt, claimed_at, statement_timestamp(), process,
        (select version from dead where id = process_id), 'crash', error
    from charged
), placed as (
    insert into queue.ready
        (job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind, track,
        tenant)
    select job_id, nextval('queue.job_seq'), statement_timestamp(), attempt, priority, failures,
        crashes + 1, queue, kind, queue.ready_track(limited, fair_tenant), fair_tenant
    from (
        select *, case
            when tenant is null then null
            when queue = any ((select queue.fair_queues())::text[]) then tenant
        end as fair_tenant
        from ended
        where became = 'ready'
        order by seq
    ) as next_in_line
), postponed as (
    insert into queue.scheduled
        (job_id, due_at, attempt, priority, failures, crashes, queue, kind, limited)
    select job_id, due_at, attempt, priority, failures, crashes + 1, queue, kind, limited
    from ended
    where became = 'scheduled'
), failed as (
    insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
    select job_id, statement_timestamp(), attempt, failures, crashes + 1, queue, kind
    from ended
    where became = 'failed'
), finished as (
    insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
    select job_id, claimed_at, statement_timestamp(), attempt, 'cancelled'
    from ended
    where became = 'cancelled'
), notified as (
    select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
    from (select distinct queue, limited from ended where became = 'ready') as woken
    where exists (select from queue.idle_processes)
), answer as (
    select process, job_id, kind, queue, tenant, attempt, failures, error, became,
        coalesce(keys, '{}') as keys, (select count(*) from notified)
    from charged
    order by job_id
