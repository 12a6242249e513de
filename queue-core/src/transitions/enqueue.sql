-- new -> ready, scheduled or blocked, a chunk of jobs in one round trip, with delays and unique keys.
-- A job that would exceed a limit together with those before it in the chunk is blocked at once; $6
-- names the key of that limit.
-- Takes free keys first and keys whose period is over second, each in key order, so that two
-- chunks with the same keys cannot deadlock. Leaves a key that is taken unlocked: the run that
-- holds it ends without waiting for this transaction.
-- Returns for each job, in the order given, whether it was admitted; if not, its key was taken.
with wanted as materialized (
    select {place} as id, given.*,
        coalesce(given.at, statement_timestamp() + given.delay_ms * interval '1 millisecond') as due_at,
        statement_timestamp() + given.unique_for_ms * interval '1 millisecond' as unique_until,
        coalesce(given.at > statement_timestamp(), given.delay_ms > 0, false) as later,
        case
            when tenant is null then null
            when queue = any ((select queue.fair_queues())::text[]) then tenant
        end as fair_tenant
    from unnest(
        $1::bigint[], $2::timestamptz[], $3::bytea[], $4::smallint[], $5::bigint[], $6::text[],
        {arrays}
    ) with ordinality as given (
        delay_ms, at, unique_key, unique_states, unique_for_ms, waits_for,
        {columns}, position
    )
), first as (
    select distinct on (unique_key) unique_key as key, id, unique_states, unique_until
    from wanted
    where unique_key is not null
    order by unique_key, position
), taken as (
    insert into queue.unique_keys (key, job_id, held_until, held_in)
    select key, id, unique_until, unique_states
    from first
    order by key
    on conflict (key) do nothing
    returning key, job_id
), over as materialized (
    select key
    from queue.unique_keys
    where key = any ($3)
        and held_until <= statement_timestamp()
        and key not in (select key from taken)
    order by key
    for update
), taken_over as (
    insert into queue.unique_keys (key, job_id, held_until, held_in)
    select key, id, unique_until, unique_states
    from first
    where (key in (select key from over)) is true
    on conflict (key) do update
    set job_id = excluded.job_id, held_until = excluded.held_until, held_in = excluded.held_in
    returning job_id
), keyed as (
    select job_id from taken
    union all
    select job_id from taken_over
), admitted as (
    select *
    from wanted
    where unique_key is null or id in (select job_id from keyed)
), job as (
    insert into queue.jobs (id, unique_key, unique_states, unique_until, {columns})
    select id, unique_key, unique_states, unique_until, {stored}
    from admitted
), placed as (
    insert into queue.ready (job_id, seq, priority, frees_key, queue, kind, track, tenant)
    select id, id, priority, coalesce(unique_states & queue.state_claimed() = 0, false), queue, kind,
        queue.ready_track(limits is not null, fair_tenant), fair_tenant
    from admitted
    where not later
        and waits_for is null
), parked as (
    insert into queue.blocked
        (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
    select id, id, 0, priority, 0, 0, coalesce(unique_states & queue.state_claimed() = 0, false), false, waits_for,
        queue, kind
    from admitted
    where not later
        and waits_for is not null
), postponed as (
    insert into queue.scheduled (job_id, due_at, priority, frees_key, queue, kind, limited)
    select id, due_at, priority, coalesce(unique_states & queue.state_claimed() = 0, false), queue, kind,
        limits is not null
    from admitted
    where later
)
select wanted.id, admitted.id is not null as admitted, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (
            select distinct queue, limits is not null as limited
            from admitted
            where not later
                and not exists (
                    select
                    from queue.pollers
                    where pollers.queue = admitted.queue
                        and admitted.kind = any (pollers.kinds)
                )
        ) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from wanted
left join admitted on admitted.id = wanted.id
order by wanted.position
