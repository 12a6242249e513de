-- new -> ready or blocked, a chunk of jobs in one round trip, without delays and unique keys. A job
-- that would exceed a limit together with those before it in the chunk is blocked at once; $1 names
-- the key of that limit. Locks only its own new rows: no key is looked at.
with wanted as materialized (
    select {place} as id, given.*, case
        when tenant is null then null
        when queue = any ((select queue.fair_queues())::text[]) then tenant
    end as fair_tenant
    from unnest($1::text[], {arrays}) with ordinality as given (waits_for, {columns}, position)
), job as (
    insert into queue.jobs (id, {columns})
    select id, {stored}
    from wanted
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind, track, tenant)
    select id, id, priority, queue, kind, queue.ready_track(limits is not null, fair_tenant), fair_tenant
    from wanted
    where waits_for is null
), parked as (
    insert into queue.blocked
        (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
    select id, id, 0, priority, 0, 0, false, false, waits_for, queue, kind
    from wanted
    where waits_for is not null
)
select id, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limits is not null as limited from wanted) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from wanted
order by position
