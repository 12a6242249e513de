-- scheduled -> ready, up to $3 of the jobs after $2 that wait for the events $1, with new places in line. A
-- job that waits no more, because its time was over or an operator has moved it, is left alone. Removes the
-- waits. Locks rows of waits with skip locked, and then of scheduled, in the order of job ids.
with waiting as materialized (
    select found.*
    from unnest($1::text[]) as emitted (event)
    cross join lateral (
        select ctid as place, job_id, attempt
        from queue.waits
        where waits.event = emitted.event
            and waits.job_id > $2
        order by job_id
        limit $3
        for update skip locked
    ) as found
    order by job_id
    limit $3
), ended as (
    delete from queue.waits
    where ctid = any (array(select place from waiting))
), moved as (
    delete from queue.scheduled
    where ctid = any (array(
        select ctid
        from queue.scheduled
        where job_id = any (array(select job_id from waiting))
            and ((job_id, attempt) in (select job_id, attempt from waiting)) is true
        order by job_id
        for update
    ))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track,
        tenant)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, queue.ready_track(limited, tenant), tenant
    from (
        select moved.*, case when queue = any ((select queue.fair_queues())::text[]) then (
            select tenant from queue.jobs where jobs.id = moved.job_id limit 1
        ) end as tenant
        from moved
        order by job_id
    ) as moved
)
select (select max(job_id) from waiting), (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limited from moved) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
